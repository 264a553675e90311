"""The judges of real runs: each finds what it is there for, and lets pass what is well."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from math import inf
from typing import Any

import pytest

from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.records import dump
from orchestrator.model.workload import OnNodeLost
from orchestrator.simulation.history import Entry
from orchestrator.simulation.samples import web
from orchestrator.simulation.sightings import Run
from tests.support.chaos.clerk import Answer, Note, misreported
from tests.support.chaos.lives import Life
from tests.support.chaos.next_release import forgotten
from tests.support.chaos.recordings import EtcdAtFault, Recording, agreed
from tests.support.chaos.verdict import (
    MOST_DESCRIPTORS,
    MOST_MEGABYTES,
    Size,
    doubled,
    misplaced,
    needless_losses,
    overgrown,
    overlapping_reigns,
    unasked_ends,
)

KEYS = Keys()
APPLIED = {"web": web(), "once": web(name="once", on_node_lost=OnNodeLost.WAIT)}
LOST = "node n1 has been unreachable for 30 s"


def place(node: str = "n1", slot: int = 0, attempt: int = 1, name: str = "web") -> InstancePlace:
    return InstancePlace(node, InstanceName("default", name, slot, attempt))


def life(at: InstancePlace, began: float, ended: float = inf, pid: int = 100) -> Life:
    return Life(pid, Run(at, at.instance.attempt, began, ended))


def assigned(
    revision: int, at: InstancePlace, wanted: Wanted = Wanted.RUNNING, reason: str = ""
) -> Entry:
    name = at.instance
    record = Assignment(*name[:2], 1, name.slot, name.attempt, wanted, reason)
    return Entry(revision, KEYS.assignment(at), dump(record), revision - 1)


def recording(*entries: Entry) -> Recording:
    """Revision n was heard of at second n."""
    return Recording(entries, {entry.revision: float(entry.revision) for entry in entries})


def session(revision: int, node: str, *, is_there: bool) -> Entry:
    return Entry(revision, KEYS.session(node), b"{}" if is_there else None, 0)


def test_two_processes_in_one_slot() -> None:
    old, new = place(), place("n2", attempt=2)
    calm = recording(session(2, "n1", is_there=True), session(3, "n2", is_there=True))
    one_after_the_other = [life(old, 10, 20), life(new, 20)]
    assert doubled(one_after_the_other, calm, APPLIED) == []
    assert doubled([life(old, 10, 20), life(new, 19)], calm, APPLIED)


def test_two_processes_while_the_older_ones_node_is_lost() -> None:
    cut = recording(
        session(2, "n1", is_there=True),
        session(3, "n2", is_there=True),
        session(10, "n1", is_there=False),
    )
    for name, may_be in (("web", True), ("once", False)):
        pair = [life(place(name=name), 5), life(place("n2", attempt=2, name=name), 41)]
        assert (doubled(pair, cut, APPLIED) == []) is may_be
    early = [life(place(), 5), life(place("n2", attempt=2), 30)]
    assert doubled(early, cut, APPLIED)


def test_what_runs_is_what_is_assigned() -> None:
    here, there = place(), place("n2", slot=1)
    entries = [assigned(2, here), assigned(3, there)]
    well = [life(here, 4), life(there, 5)]
    assert misplaced(well, entries) == []
    assert "does not run" in misplaced(well[:1], entries)[0]
    assert "not assigned" in misplaced(well, entries[:1])[0]
    assert "2 times" in misplaced([*well, life(here, 6, pid=101)], entries)[0]
    stopped = assigned(4, there, Wanted.STOPPED)
    assert misplaced([life(here, 4), life(there, 5, 6)], [*entries, stopped]) == []


def test_processes_that_end_by_themselves() -> None:
    at = place()
    stop = assigned(10, at, Wanted.STOPPED, "scaled from 1 to 0")
    ordered = recording(assigned(2, at), stop)
    assert list(unasked_ends([life(at, 3, 10.5)], ordered, set())) == []
    assert list(unasked_ends([life(at, 3, 8.0)], ordered, set()))
    assert list(unasked_ends([life(at, 3, 8.0)], ordered, {100})) == []
    assert list(unasked_ends([life(at, 3, 8.0)], recording(assigned(2, at)), set()))


def test_nodes_that_are_given_up_though_nothing_has_happened_to_them() -> None:
    given_up = recording(assigned(2, place()), assigned(3, place(), Wanted.STOPPED, LOST))
    assert list(needless_losses(given_up, {"n1"})) == []
    assert list(needless_losses(given_up, {"n2"}))


def test_processes_that_hold_too_much() -> None:
    assert not list(overgrown([Size("c1", MOST_MEGABYTES, MOST_DESCRIPTORS)]))
    too_many = [Size("c1", MOST_MEGABYTES + 1, 30), Size("n1", 90, MOST_DESCRIPTORS + 1)]
    assert [each.split()[0] for each in overgrown(too_many)] == ["c1", "n1"]


def test_rows_that_lose_what_only_the_next_release_knows() -> None:
    row = KEYS.desired_node("n1")
    said = Entry(5, row, b'{"labels": {}, "taints": [{"key": "a", "next_until": 3}]}', 0)
    kept = Entry(6, row, b'{"labels": {"a": "b"}, "taints": [{"next_until": 4}]}', 5)
    lost = Entry(7, row, b'{"labels": {}, "taints": [{"key": "a"}]}', 6)
    gone, anew = Entry(7, row, None, 6), Entry(8, row, b"{}", 0)
    assert not list(forgotten([said, kept, gone, anew]))
    assert list(forgotten([said, kept, lost])) == [f"at 7 {row} has lost .taints[0].next_until"]


def test_leaders_come_one_after_the_other() -> None:
    reigns = [Entry(2, KEYS.leader, b"{}", 0), Entry(3, KEYS.leader, None, 2)]
    assert list(overlapping_reigns([*reigns, Entry(4, KEYS.leader, b"{}", 0)])) == []
    assert list(overlapping_reigns([reigns[0], Entry(3, KEYS.leader, b"{}", 2)]))


@pytest.mark.parametrize(
    ("note", "is_true"),
    [
        (Note("a", Answer.DONE, 5), True),
        (Note("a", Answer.DONE), True),
        (Note("a", Answer.DONE, 6), False),
        (Note("a", Answer.REFUSED), False),
        (Note("a", Answer.UNKNOWN), True),
        (Note("b", Answer.UNKNOWN), False),
        (Note("b", Answer.DONE, 6), False),
        (Note("c", Answer.DONE, 9), False),
        (Note("c", Answer.REFUSED), True),
        (Note("c", Answer.UNKNOWN), True),
    ],
)
def test_answers_of_the_api(note: Note, is_true: bool) -> None:
    """`a` was written at 5, `b` at 6 and again at 8, `c` never."""
    key = KEYS.workload(web().key)
    numbers = {5: "a", 6: "b", 7: "other", 8: "b"}
    entries = [Entry(revision, key, _labelled(number), 0) for revision, number in numbers.items()]
    assert (misreported(entries, [note]) == []) is is_true


def _labelled(number: str) -> bytes:
    return json.dumps({"spec": {"labels": {"written-as": number}}}).encode()


def told(revision: int, index: int = 0, value: str = "", heard: float = 0.0) -> Mapping[str, Any]:
    text = base64.b64encode(value.encode()).decode()
    place = {"revision": revision, "index": index, "type": "PUT", "key": "/a", "value": text}
    return {**place, "lease": 0, "heard_ns": int(heard * 1e9)}


def test_members_that_tell_the_same_are_believed_as_far_as_both_have_come() -> None:
    first = [told(2, heard=7.0), told(3, 0), told(3, 1), told(4)]
    found = agreed([first, [told(2, heard=5.0), told(3, 0), told(3, 1)]])
    assert [entry.revision for entry in found.entries] == [2, 3, 3]
    assert found.entries[1].previous == 2
    assert found.time_of[2] == 5.0


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ([told(2), told(3, value="x"), told(4)], "differ"),
        ([told(2), told(4)], "differ"),
        ([told(2), told(3), told(4), told(4, 1)], "3 and 4 changes"),
    ],
)
def test_members_that_tell_different_things(other: list[Mapping[str, Any]], says: str) -> None:
    with pytest.raises(EtcdAtFault, match=says):
        agreed([[told(2), told(3), told(4)], other])


def test_a_revision_that_no_member_tells_of() -> None:
    with pytest.raises(EtcdAtFault, match="revision 5 right after 3"):
        agreed([[told(2), told(3), told(5)]])
