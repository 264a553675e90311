"""The watchdog stays small because it imports next to nothing; it must stay so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import orchestrator
from tests.unit.test_supervisor_imports import SLOW

PROBE = """
import sys; sys.path.append(sys.argv[1])
import orchestrator.runtime.watchdog.main
print(str(list(sys.modules)).replace("'", '"'))
"""


def test_the_watchdog_imports_nothing_large_and_of_ours_only_what_supervisors_do() -> None:
    root = Path(orchestrator.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c", PROBE, str(root)]
    probe = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(probe.stdout))
    assert modules & SLOW == set()
    own = ("orchestrator.runtime.watchdog", "orchestrator.runtime.supervisor")
    ours = {name for name in modules if name.startswith("orchestrator.")}
    assert {name for name in ours if not name.startswith(own)} == {"orchestrator.runtime"}
