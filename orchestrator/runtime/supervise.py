"""Starts a container's supervisor: `python -I -S supervise.py <directory> <fds>...`.

`-I` and `-S` keep site-packages and the user's environment out and save half of the start-up
time, so the way to our own package has to be told. The program is `supervisor.main`.
"""

import sys

sys.path.append(__file__.rpartition("/orchestrator/")[0])

from orchestrator.runtime.supervisor.main import main

if __name__ == "__main__":
    main(*sys.argv[1:])
