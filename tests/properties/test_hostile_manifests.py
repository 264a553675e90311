"""Manifests that are nearly right, as people, programs and enemies write them: each is read, and
then reads back as the same, or is refused in sentences that say where. By the command line and the
API, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.routes import ENDPOINTS
from orchestrator.model.manifest import (
    definition_from_json,
    parse_manifests,
    to_document,
    to_manifest,
)
from orchestrator.model.problems import ManifestError
from orchestrator.model.workload import WorkloadDefinition
from orchestrator.process.problems import PROBLEM_JSON
from tests.support.orc import run_orc
from tests.support.served_api import ServedApi

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
TEXTS = [path.read_text("utf-8") for path in sorted(EXAMPLES.glob("*.yaml"))]
DOCUMENTS = [to_document(each) for text in TEXTS for each in parse_manifests(text)]
SOURCE = "any.yaml"

DEEP = "[" * 60 + "]" * 60
BOMB = "{a: &a [x, x, x, x], b: &b [*a, *a, *a, *a], c: [*b, *b, *b, *b]}"
ODD_SCALARS = (
    *(".nan", ".inf", "-.inf", "1e999", "-0", "0x10", "1_000", "9" * 5_000, "1e-99999", "-1", "3."),
    *("~", '""', "''", '"\\ud800"', '"\\0"', "é", "\u202e", "\U0001f600", "\x85", "\ufeff", "true"),
    *("*nobody", "&a *a", "&a [*a]", "!!python/object:os.system x", "!!binary eA==", "!<x> y"),
    *(
        "[]",
        "{}",
        "[[]]",
        "{a: b}",
        "? x",
        "- x",
        "|",
        ">",
        "%",
        "@",
        "`",
        "'",
        '"',
        "#",
        DEEP,
        BOMB,
    ),
    *("2026-01-01", "1:30", "0o17", "on", "<<: *a", "---", "...", "x" * 70_000),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**300, 1.5, 1e308, -0.0, float("nan"), float("inf"), float("-inf")),
    *("", "\0", "\ud800", "\u202e", "x" * 70_000, [], {}, [[]], [None], {"": None}, {"\ud800": 1}),
    json.loads(DEEP),
)


@st.composite
def spoilt_texts(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        _spoil(draw, lines)
    return "\n".join(lines)


def _spoil(draw: st.DrawFn, lines: list[str]) -> None:
    at = draw(st.integers(0, len(lines) - 1))
    line = lines[at]
    odd = draw(st.sampled_from(ODD_SCALARS))
    how = draw(st.sampled_from(("value", "name", "twice", "gone", "deeper", "before", "cut")))
    name, colon, _ = line.partition(":")
    spoilt = {
        "value": [f"{name}{colon} {odd}"],
        "name": [f"{odd}: {line.strip()}"],
        "twice": [line, line],
        "gone": [],
        "deeper": [f"   {line}"],
        "before": [odd, line],
        "cut": [line[: len(line) // 2]],
    }
    lines[at : at + 1] = spoilt[how] or [""]


@st.composite
def spoilt_documents(draw: st.DrawFn) -> Any:
    """With odd values in the places of some parts."""
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if places:
            parent, step = draw(st.sampled_from(places))
            parent[step] = deepcopy(draw(st.sampled_from(ODD_VALUES)))
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for step, member in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, step
        if isinstance(member, dict | list):
            yield from _places(member)


def require_same_again(definitions: list[WorkloadDefinition]) -> None:
    assert definitions
    for each in definitions:
        assert parse_manifests(to_manifest(each)) == [each]
        assert definition_from_json(to_document(each)) == each


def require_sentences(error: ManifestError, source: str = "") -> None:
    lines = str(error).splitlines()
    assert len(lines) <= len(error.problems) + 1
    for line, problem in zip(lines, error.problems, strict=False):
        assert len(problem.sentence) > 10
        assert line.startswith(source)
        assert len(line) < 2_000


@settings(max_examples=150)
@given(spoilt_texts())
def test_a_text_with_slips_and_tricks_in_it(text: str) -> None:
    try:
        require_same_again(parse_manifests(text, source=SOURCE))
    except ManifestError as error:
        require_sentences(error, SOURCE)


@settings(max_examples=150)
@given(spoilt_documents())
def test_a_body_with_odd_values_in_it(document: Any) -> None:
    try:
        require_same_again([definition_from_json(document)])
    except ManifestError as error:
        require_sentences(error)


@pytest.fixture(scope="module")
def served() -> Iterator[ServedApi]:
    with ServedApi() as serving:
        yield serving


@settings(max_examples=60)
@given(text=spoilt_texts())
def test_orc_refuses_it_in_sentences_too(text: str, served: ServedApi) -> None:
    content = text.encode("utf-8", "surrogatepass")
    flags = ("--server", served.servers[0], "apply", "--dry-run", "-f", "-")
    result = run_orc(*flags, stdin=content)
    assert result.exit_code in (0, 1, 2, 4, 6), result.output
    assert "Traceback" not in result.output
    assert (result.exit_code == 0) or result.stderr.startswith("error: ")


BODIES = [each for each in ENDPOINTS if each.body and not each.is_socket]
JUNK = (
    *(
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
        b"NaN",
        b"-0",
        b"1e999",
    ),
    *(b"9" * 5_000, b"[" * 100_000, b'{"a":' * 100_000, b'{"replicas":' + b"9" * 5_000 + b"}"),
    *(b'{"moves":[[]]}', b'{"changes":[{"change":{}}]}', b'{"labels":{"a":{}}}', b"{}" * 9),
    *(b"[" + b"1," * 400_000 + b"1]", b'{"containers":' + DEEP.encode() + b"}", b" " * 2_000_000),
)


@pytest.mark.parametrize("body", JUNK, ids=lambda body: repr(body[:20]))
def test_no_endpoint_takes_junk(body: bytes, served: ServedApi) -> None:
    for endpoint in BODIES:
        path = endpoint.path.format(namespace="default", name="default.web.0.1")
        path = path.replace("workloads/default/default.web.0.1", "workloads/default/web")
        answer = requests.request(endpoint.method, served.servers[0] + path, data=body)
        assert 400 <= answer.status_code < 500, (endpoint.path, answer.text)
        assert answer.headers["Content-Type"].startswith(PROBLEM_JSON)
        assert answer.json()["detail"]
