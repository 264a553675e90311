"""The tripwires of our style: small enough to see, plainly named, nothing half done.

ruff holds complexity (8) and line length (100); what it cannot see is here. An exception is
listed by name, with its reason.
"""

from __future__ import annotations

import ast
import functools
import gc
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("store", "orchestrator", "tests", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_NESTING = 3
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "impl", "info"}
EMPTY_WORDS |= {"data", "misc"}

EMPTY_WORDS_ALLOWED = {
    "ClusterManager": "the design's own name for membership",
    "EtcdClusterManager": "ClusterManager on etcd sessions",
    "orchestrator/cluster/manager.py": "holds ClusterManager",
    "DataDir": "a data directory, as in --data-dir",
    "orchestrator/local/data_dir.py": "holds DataDir",
}
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
DEEP_FUNCTIONS: dict[str, str] = {}
CATCH_ALLS = {
    "orchestrator/process/middleware.py": "the top of a request",
    "orchestrator/process/shutdown.py": "the top of a process",
    "orchestrator/controller/plugins.py": "where foreign code is loaded",
    "orchestrator/scheduler/plugins.py": "where foreign code is asked",
    "orchestrator/simulation/loop.py": "what a thread would hand to who waits for it",
    "tests/unit/test_scheduler_plugins.py": "a plug-in that will not be interrupted",
}

MAKERS_OF_LEADERSHIP = {"store/election.py": "who has won an election leads"}
LEADERS_IMPORTS_OF_COMMIT = {"commit_as_leader"}

Node = TypeVar("Node", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith),
    *(ast.Try, ast.TryStar, ast.Match),
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@contextmanager
def nothing_collected() -> Iterator[None]:
    """All that is made in here stays: to look again and again for garbage among millions of nodes
    would take four times as long as to make them."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    with nothing_collected():
        return [(name_of(path), ast.parse(path.read_text())) for path in FILES]


@functools.cache
def nodes() -> dict[type[ast.AST], list[tuple[str, ast.AST]]]:
    """Those of each kind, with their files. To walk through everything takes a second: once will
    do."""
    found: dict[type[ast.AST], list[tuple[str, ast.AST]]] = defaultdict(list)
    with nothing_collected():
        for file, tree in trees():
            for node in ast.walk(tree):
                found[type(node)].append((file, node))
    return found


def every(kind: type[Node]) -> Iterator[tuple[str, Node]]:
    for file, node in nodes()[kind]:
        assert isinstance(node, kind)
        yield file, node


def functions() -> Iterator[tuple[str, Function]]:
    yield from ((f"{file}:{node.name}", node) for file, node in every(ast.FunctionDef))
    yield from ((f"{file}:{node.name}", node) for file, node in every(ast.AsyncFunctionDef))


def nesting(node: ast.AST) -> int:
    """How deep blocks lie within each other.

    `elif` is no deeper than its `if`, and a `with` that is all of a block no deeper than that:
    so `async for attempt: with attempt:` is one level.
    """
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*Function.__args__, ast.ClassDef, ast.expr)):
            continue
        is_level = isinstance(child, BLOCKS) and not _goes_with(child, node)
        deepest = max(deepest, is_level + nesting(child))
    return deepest


def _goes_with(child: ast.AST, parent: ast.AST) -> bool:
    if isinstance(child, ast.If):
        return isinstance(parent, ast.If) and parent.orelse == [child]
    is_with = isinstance(child, ast.With | ast.AsyncWith)
    return is_with and isinstance(parent, BLOCKS) and getattr(parent, "body", None) == [child]


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    long = {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert set(long) == set(LONG_FILES), long


def test_functions_are_short() -> None:
    long = {
        name: lines
        for name, node in functions()
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert set(long) == set(LONG_FUNCTIONS), long


def test_blocks_do_not_lie_deep() -> None:
    deep = {name: depth for name, node in functions() if (depth := nesting(node)) > MAX_NESTING}
    assert set(deep) == set(DEEP_FUNCTIONS), deep


def test_names_say_something() -> None:
    empty = {name_of(path) for path in FILES if words(path.stem) & EMPTY_WORDS}
    empty |= {node.name for _, node in every(ast.ClassDef) if words(node.name) & EMPTY_WORDS}
    assert empty <= set(EMPTY_WORDS_ALLOWED), empty - set(EMPTY_WORDS_ALLOWED)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name for name, tree in trees() if tree.body and not (ast.get_docstring(tree) or "").strip()
    ]
    assert silent == []


def test_everything_is_caught_at_the_top_only() -> None:
    catching = {
        file
        for file, node in every(ast.ExceptHandler)
        if isinstance(node.type, ast.Name | None)
        and (node.type is None or node.type.id in {"Exception", "BaseException"})
        and not reraises(node)
    }
    assert catching == set(CATCH_ALLS), catching ^ set(CATCH_ALLS)


def reraises(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_leadership_is_won_and_not_made_up() -> None:
    makers = {
        file
        for file, call in every(ast.Call)
        if called(call) == "Leadership" and not file.startswith(("tests/", "benchmarks/"))
    }
    assert makers == set(MAKERS_OF_LEADERSHIP)


def test_the_controller_writes_as_the_leader_or_not_at_all() -> None:
    """That such a write is fenced is mypy's business: see tests/unit/test_fencing.py."""
    imports: list[tuple[str, ast.Import | ast.ImportFrom]]
    imports = [*every(ast.Import), *every(ast.ImportFrom)]
    imported = {
        alias.name
        for file, node in imports
        if file.startswith("orchestrator/controller/")
        for alias in node.names
        if "commit" in (getattr(node, "module", None) or alias.name).split(".")
    }
    assert imported == LEADERS_IMPORTS_OF_COMMIT
    bare = [file for file, call in every(ast.Call) if called(call) == "txn"]
    assert not [file for file in bare if file.startswith("orchestrator/controller/")]


def called(call: ast.Call) -> str:
    """The last name of what is called: `store.txn(...)` is a call of "txn"."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.mark.parametrize("pattern", [r"\b(TODO|FIXME|XXX|HACK)\b", r"\bunittest\.mock\b"])
def test_nothing_is_half_done_or_mocked(pattern: str) -> None:
    found = [
        name_of(path)
        for path in FILES
        if path != Path(__file__) and re.search(pattern, path.read_text())
    ]
    assert found == []
