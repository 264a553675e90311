"""What the README names is there. Its transcript is run by `tests/cluster/test_readme.py`."""

from __future__ import annotations

import re
from pathlib import Path

import orchestrator.entry.main  # noqa: F401 - it adds its commands to `orc`
from orchestrator.cli.app import orc

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)


def test_nothing_is_still_to_be_filled_in() -> None:
    assert re.findall(r"^[A-Z][A-Z ]+$", PROSE, re.MULTILINE) == []


def test_every_path_exists() -> None:
    folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir())
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*)`", PROSE))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_benchmark_exists() -> None:
    named = set(re.findall(r"\bbenchmarks[./](\w+)", README))
    missing = [name for name in sorted(named) if not (ROOT / f"benchmarks/{name}.py").exists()]
    assert missing == []


def test_every_command_of_orc_exists() -> None:
    named = set(re.findall(r"`orc (?:--\S+ \S+ )*([a-z][\w-]*)", PROSE))
    assert len(named) > 5
    assert named <= set(orc.commands)
