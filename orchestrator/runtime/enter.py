"""Runs a command beside a container's own: `python -I -S enter.py <fds> <pid>`.

As `supervise`, it has to be told the way to our own package. The program is
`supervisor.entering`.
"""

import sys

sys.path.append(__file__.rpartition("/orchestrator/")[0])

from orchestrator.runtime.supervisor.entering import main

if __name__ == "__main__":
    main(*sys.argv[1:])
