"""Whatever a newer release adds to a record, and wherever: an older one reads what it knows, and
writes the rest again as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.instance import Assignment, InstanceName
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey, RevisionName
from orchestrator.model.node import DesiredNode
from orchestrator.model.records import Record, Schema, dump, read
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition, WorkloadStatus
from store.stamps import stamped
from tests.support.definitions import any_of, definitions, instance_names

FREE = {"labels", "env_vars", "custom", "ulimits"}
"""Of these the members are a user's own."""

unhurried = settings(deadline=None, max_examples=60)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


def records_in(tree: Any, is_free: bool = False) -> Iterator[dict[str, Any]]:
    """Wherever a record of a type of ours stands: there a member may be added."""
    if isinstance(tree, list):
        for item in tree:
            yield from records_in(item)
    if isinstance(tree, dict):
        if not is_free:
            yield tree
        for name, member in tree.items():
            yield from records_in(member, name in FREE and not is_free)


def stays(data: st.DataObject, parsed: ParsedKey, record: Record) -> None:
    full = dump(record)
    if isinstance(record, Assignment):  # written without its defaults, so in full here
        full = json.dumps(_in_full(record)).encode()
    tree = json.loads(full)
    places = list(records_in(tree))
    for number in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(places))
        place[f"of the next release {number}"] = data.draw(anything)
    value = stamped(json.dumps(tree).encode(), op="7f", base=12, fence=None)
    known, unknown = read(parsed, value)
    assert known == record
    assert unknown
    assert json.loads(dump(known, unknown)) == tree


def _in_full(record: Assignment) -> dict[str, Any]:
    parsed = ParsedKey(Kind.ASSIGNMENT, InstancePlace("n", record.name))
    tree = json.loads(dump(record)) | {"x": 1}
    known, unknown = read(parsed, json.dumps(tree).encode())
    full: dict[str, Any] = json.loads(dump(known, unknown))
    del full["x"]
    return full


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (Kind.SCHEMA, Schema),
        (Kind.DESIRED_NODE, DesiredNode),
        (Kind.WORKLOAD_STATUS, WorkloadStatus),
    ],
)
@unhurried
@given(data=st.data())
def test_plain_records_keep_it(kind: Kind, record: type[Record], data: st.DataObject) -> None:
    stays(data, ParsedKey(kind, "any"), data.draw(any_of(record)))


@unhurried
@given(st.data(), any_of(Assignment), instance_names)
def test_assignments_keep_it(data: st.DataObject, drawn: Assignment, name: InstanceName) -> None:
    parsed = ParsedKey(Kind.ASSIGNMENT, InstancePlace("n1", name))
    stays(data, parsed, replace(drawn, **name._asdict()))


@settings(deadline=None, max_examples=40)
@given(st.data(), definitions())
def test_workloads_and_templates_keep_it(data: st.DataObject, spec: WorkloadDefinition) -> None:
    stays(data, ParsedKey(Kind.WORKLOAD, spec.key), DesiredWorkload(spec, 3))
    stays(data, ParsedKey(Kind.REVISION, RevisionName(spec.key, 3)), spec.template())
