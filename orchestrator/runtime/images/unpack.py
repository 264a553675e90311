"""Starts the unpacker: `python -I -S unpack.py`. The program is `unpacker.main`."""

import sys

sys.path.append(__file__.rpartition("/orchestrator/")[0])

from orchestrator.runtime.images.unpacker.main import main

if __name__ == "__main__":
    main()
