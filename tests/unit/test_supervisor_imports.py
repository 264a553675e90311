"""The supervisor starts quickly because it imports next to nothing; it must stay so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import orchestrator

PROBE = """
import sys; sys.path.append(sys.argv[1])
import orchestrator.runtime.supervisor.main
print(str(list(sys.modules)).replace("'", '"'))
"""

SLOW = {"json", "re", "enum", "signal", "typing", "collections", "functools", "subprocess"}
SLOW |= {"dataclasses", "pathlib", "asyncio", "logging", "contextlib", "socket", "selectors"}


def test_supervisor_imports_nothing_slow_and_of_ours_only_its_own() -> None:
    root = Path(orchestrator.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c", PROBE, str(root)]
    probe = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(probe.stdout))
    assert modules & SLOW == set()
    ours = {name for name in modules if name.startswith("orchestrator.")}
    own = "orchestrator.runtime.supervisor"
    assert {name for name in ours if not name.startswith(own)} == {"orchestrator.runtime"}
