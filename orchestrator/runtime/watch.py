"""Starts a node's watchdog: `python -I -S watch.py <directory> <lock>`.

As for `supervise.py`, the way to our own package has to be told. The program is `watchdog.main`.
"""

import sys

sys.path.append(__file__.rpartition("/orchestrator/")[0])

from orchestrator.runtime.watchdog.main import main

if __name__ == "__main__":
    main(*sys.argv[1:])
