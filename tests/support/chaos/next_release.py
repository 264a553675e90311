"""The release after this one: the same sources, with members that this one does not know.

What real releases will add, this one has in every record that another release may rewrite: members
that are written always, one that its API takes, and one in each assignment. All are called
something with `next_`, so that the judge finds them wherever they are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.simulation.history import Entry
from tests.support.orc_process import ROOT

PREFIX = "next_"
MESH = "next_mesh"
"""A member of a workload and its template."""

_PATCHES: dict[str, tuple[tuple[str, str], ...]] = {
    "orchestrator/model/workload.py": (
        (
            "    user_namespace: bool = False\n\n    def quantities",
            f'    user_namespace: bool = False\n    {MESH}: str = "off"\n\n    def quantities',
        ),
        (
            "    user_namespace: bool = False\n\n    @property",
            f'    user_namespace: bool = False\n    {MESH}: str = "off"\n\n    @property',
        ),
        ("            self.user_namespace,\n", f"            self.user_namespace, self.{MESH},\n"),
        (
            "    generation: int\n\n\n@",
            '    generation: int\n    next_approval: str = "anna"\n\n\n@',
        ),
        ("    attempt_floor: int = 0\n", "    attempt_floor: int = 0\n    next_step: int = 3\n"),
    ),
    "orchestrator/model/node.py": (
        (
            "    is_declared_lost: bool = False\n",
            '    is_declared_lost: bool = False\n    next_rack: str = "r7"\n',
        ),
    ),
    "orchestrator/model/instance.py": (
        ('    displaced_by: str = ""\n', '    displaced_by: str = ""\n    next_zone: str = ""\n'),
    ),
    "orchestrator/controller/writes.py": (
        ("dump(action.assignment)", 'dump(replace(action.assignment, next_zone="a"))'),
    ),
}


def make_next_release(path: Path) -> Path:
    """Its sources, in a directory: what PYTHONPATH has to be for its processes."""
    for package in ("orchestrator", "store"):
        shutil.copytree(ROOT / package, path / package, dirs_exist_ok=True)
    for name, patches in _PATCHES.items():
        source = (path / name).read_text()
        for old, new in patches:
            assert source.count(old) == 1, f"{name} has changed: {old!r} is there no more"
            source = source.replace(old, new)
        (path / name).write_text(source)
    return path


def marks(value: bytes) -> dict[str, Any]:
    """What the next release alone has written into a row, by where it stands."""
    return dict(_marks("", json.loads(value)))


def forgotten(entries: Iterable[Entry]) -> Iterator[str]:
    """Rows that once said what only the next release knows, and were then rewritten without."""
    newest: dict[str, dict[str, Any]] = {}
    for entry in entries:
        before = newest.pop(entry.key, {})
        if entry.value is None:
            continue
        after = newest[entry.key] = marks(entry.value) if PREFIX.encode() in entry.value else {}
        if lost := before.keys() - after.keys():
            yield f"at {entry.revision} {entry.key} has lost {', '.join(sorted(lost))}"


def _marks(where: str, tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _marks(f"{where}[{index}]", item)
    if isinstance(tree, dict):
        for name, member in tree.items():
            if name.startswith(PREFIX):
                yield f"{where}.{name}", member
            else:
                yield from _marks(f"{where}.{name}", member)
