"""What people are told of requests that fit nowhere is true: the counts, the amounts, and above
all the advice.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import Placement, Toleration, TolerationOperator
from orchestrator.model.resources import shown
from orchestrator.scheduler.explain import explain, what_would_help, why_not
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.feasibility import feasible, stages
from orchestrator.scheduler.protocol import AssignNode, ScheduleRequest, Shape
from orchestrator.scheduler.refusals import Verdicts
from orchestrator.scheduler.relaxing import Suggestion
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.refused_cases import Refused, refused_cases

# By blocks of (first seed, cases), so that they are shared out to several processes.
FEW = [(at, 100) for at in range(0, 4_000, 1_000)]
MANY = [(at, 1_000) for at in range(10_000, 20_000, 5_000)]
SLOW = [pytest.param(*block, marks=pytest.mark.slow) for block in MANY]


def verdicts_of(case: Refused) -> Verdicts:
    return Verdicts.of(case.snapshot, case.shape, stages(case.snapshot, case.shape, case.plugins))


def found_for(case: Refused) -> list[Suggestion]:
    return what_would_help(verdicts_of(case), case.plugins)


def is_placed(case: Refused, shape: Shape, snapshot: Snapshot) -> bool:
    request = ScheduleRequest(InstanceName(*shape.workload, 0, 9), shape, may_displace=False)
    made = VectorScheduler(filters=case.plugins).schedule([request], snapshot)
    return isinstance(made[0], AssignNode)


@pytest.mark.parametrize(("first", "count"), [*FEW, *SLOW])
def test_who_does_what_is_suggested_is_placed(first: int, count: int) -> None:
    for case in refused_cases(count, first):
        assert not is_placed(case, case.shape, case.snapshot), case.seed
        found = found_for(case)
        for suggestion in found:
            where = f"case {case.seed}: {suggestion.text}"
            assert is_placed(case, suggestion.shape, suggestion.snapshot), where
        assert found or not could_be_helped(case), case.seed


def could_be_helped(case: Refused) -> bool:
    """Whether what asks for nothing but its data would fit: on any node, were they all open, or a
    new one."""
    anything = Toleration(operator=TolerationOperator.EXISTS)
    shape = case.shape
    bare = Shape(
        shape.workload,
        runtime=shape.runtime,
        labels=shape.labels,
        placement=Placement(tolerations=(anything,)),
        pins=shape.pins,
    )
    opened = [replace(node, refusal="") for node in case.snapshot.facts.nodes]
    new = NodeFacts("new-node", {}, runtimes=frozenset({shape.runtime}))
    mask = feasible(case.snapshot.with_nodes([*opened, new]), bare, case.plugins)
    return bool(mask.any())


@pytest.mark.parametrize(("first", "count"), [(0, 50), *SLOW])
def test_amounts_that_are_told_are_those_that_were_changed(first: int, count: int) -> None:
    for case in refused_cases(count, first):
        for suggestion in found_for(case):
            before, after = case.shape.quantities, suggestion.shape.quantities
            for resource, wanted in before.items():
                less = wanted - after.get(resource, 0)
                is_told = f"with {shown(resource, less)} less" in suggestion.text
                is_gone = f"without {resource}" in suggestion.text
                assert (less != 0) == (is_told or is_gone), f"{case.seed}: {suggestion.text}"
                assert is_gone == (resource not in after), f"{case.seed}: {suggestion.text}"


@pytest.mark.parametrize(("first", "count"), [(0, 50), *SLOW])
def test_nodes_that_would_fit_are_counted_right(first: int, count: int) -> None:
    for case in refused_cases(count, first):
        for suggestion in found_for(case):
            fitting = feasible(suggestion.snapshot, suggestion.shape, case.plugins)
            nodes = suggestion.snapshot.facts.names
            names = [name for name, fits in zip(nodes, fitting, strict=True) if fits]
            if told := re.search(r"(\d+) nodes would fit$", suggestion.text):
                assert int(told[1]) == len(names) > 1, f"{case.seed}: {suggestion.text}"
            elif told := re.search(r"it would fit (\S+)$", suggestion.text):
                assert [told[1]] == names, f"{case.seed}: {suggestion.text}"


@pytest.mark.parametrize(("first", "count"), [(0, 50), *SLOW])
def test_a_summary_counts_every_node_once_and_every_node_has_its_answer(
    first: int, count: int
) -> None:
    for case in refused_cases(count, first):
        told = explain(case.snapshot, case.shape, case.plugins)
        assert why_not(case.snapshot, case.shape, case.plugins).startswith(told.summary)
        assert [answer.node for answer in told.nodes] == list(case.snapshot.facts.names)
        assert all(answer.refusals for answer in told.nodes)
        if told.nodes and case.shape.pins:
            assert all(f"on {pin.node}" in told.summary for pin in case.shape.pins)
        elif told.nodes:
            head, _, rest = told.summary.partition(" fits: ")
            counts = [int(part.split()[0]) for part in rest.split("; ")]
            assert head in {f"none of {sum(counts)} {noun}" for noun in ("node", "nodes")}
            assert sum(counts) == len(told.nodes), f"{case.seed}: {told.summary}"
        else:
            assert told.summary == "there is no node yet"


def test_the_cases_are_of_many_kinds() -> None:
    """Else all of this would show little."""
    texts = [each.text for case in refused_cases(200) for each in found_for(case)]
    for kind in (
        *("of memory less", "gpu less", "without gpu", "without gpu_model", "tolerating"),
        *("without host port", "without affinity to", "without anti-affinity to"),
        *("without topology spread over", "a new node", "would take it, but it"),
        *("without privileged containers", "without the node's /"),
    ):
        assert any(kind in text for text in texts), kind
    assert sum("would take it" in text for text in texts) < len(texts) / 2
