"""Skips: in CI none for want of a package, and every reason says which kind it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import why_without
from tests.support.skips import fail_if_a_package_is_missing

TESTS = Path(__file__).parents[1]

NO_PACKAGE_HELPS = {
    "the Docker engine at {} is not on this machine": "the user has chosen another machine's",
    "only root may give the files of an image their owners": "whoever runs the tests is another",
    "only root with CAP_SYS_RESOURCE may shield a process": "containers may have it taken away",
    "only root may have a network namespace of its own": "whoever runs the tests is another",
    "only root may mount": "whoever runs the tests is another",
    "only root may mount a disk": "whoever runs the tests is another",
    "containers made of images take root": "whoever runs the tests is another",
    "this machine has no cgroups": "that is its kernel's doing",
    "build youki: it is not on the PATH": "no package has it",
    "youki 0.7 cannot look at an image's files in a user namespace": "that is its own doing",
    "{}: start one, or set DOCKER_HOST": "a kernel may be unable to run an engine",
}
"""Reasons that name no package, and why not; `why_without` has its own test."""


NO_REASON_TO_READ = {"pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif"}


def report_of(outcome: str, reason: str) -> pytest.TestReport:
    return pytest.TestReport(
        "test_x.py::test_it",
        ("test_x.py", 1, "test_it"),
        {},
        outcome,  # type: ignore[arg-type]
        ("test_x.py", 1, f"Skipped: {reason}"),
        "setup",
    )


@pytest.mark.parametrize(
    ("ci", "outcome", "reason", "ends"),
    [
        ("true", "skipped", "no curl here: install curl", "failed"),
        ("", "skipped", "no curl here: install curl", "skipped"),
        ("true", "skipped", why_without("3.4", None), "failed"),
        ("true", "skipped", why_without("3.5", "3.4"), "failed"),
        ("true", "skipped", why_without("3.4", "3.5"), "skipped"),
        ("true", "passed", "install nothing", "passed"),
    ],
)
def test_in_ci_a_skip_for_want_of_a_package_has_failed(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str, reason: str, ends: str
) -> None:
    monkeypatch.setenv("CI", ci)
    report = report_of(outcome, reason)
    fail_if_a_package_is_missing(report)
    assert report.outcome == ends
    assert reason in str(report.longrepr)


def skips() -> Iterator[tuple[str, str]]:
    """Where a test is skipped, and its reason with `{}` for what is filled in."""
    texts = ((path, path.read_text()) for path in sorted(TESTS.rglob("*.py")))
    for path, text in texts:
        if "skip" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and called(node) in NO_REASON_TO_READ:
                yield f"{path.name}:{node.lineno}", called(node)
            if isinstance(node, ast.Call) and called(node.func) == "pytest.skip":
                yield f"{path.name}:{node.lineno}", text_of(node.args[0])


def called(node: ast.AST) -> str:
    """The whole name, if it may be one of pytest's for skipping: to spell all takes long."""
    if isinstance(node, ast.Attribute) and node.attr in {"importorskip", "skip", "skipif"}:
        return ast.unparse(node)
    return ""


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return str(node.value)
    return ast.unparse(node) if isinstance(node, ast.Call) else "{}"


def test_every_reason_to_skip_names_a_package_or_says_why_none_helps() -> None:
    found = list(skips())
    assert len(found) > 10
    reasons = {reason for _, reason in found}
    unclear = [
        (place, reason)
        for place, reason in found
        if "install " not in reason
        and reason not in NO_PACKAGE_HELPS
        and not reason.startswith("why_without(")
    ]
    assert unclear == []
    assert set(NO_PACKAGE_HELPS) <= reasons
