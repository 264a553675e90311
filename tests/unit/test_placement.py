"""Constraints and GPUs as nouns: what they mean, and how they are told to people."""

from __future__ import annotations

import pytest

from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    PriorityClass,
    Requirement,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
    meets,
    whole_number,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, GpuNeed, WorkloadTemplate

ABSENT: dict[str, str] = {}
ZONE_A = {"zone": "a"}


@pytest.mark.parametrize(
    ("operator", "values", "met_by"),
    [
        (Operator.IN, ("a", "b"), ["a"]),
        (Operator.NOT_IN, ("a", "b"), [None, "c", "12"]),
        (Operator.EXISTS, (), ["a", "c", "12"]),
        (Operator.DOES_NOT_EXIST, (), [None]),
        (Operator.GT, ("11",), ["12"]),
        (Operator.GT, ("12",), []),
        (Operator.LT, ("13",), ["12"]),
        (Operator.LT, ("12",), []),
        (Operator.GT, ("many",), []),
        (Operator.LT, (), []),
    ],
)
def test_what_meets_a_requirement(
    operator: Operator, values: tuple[str, ...], met_by: list[str | None]
) -> None:
    requirement = NodeSelector("zone", operator, values).requirement
    found = [
        value
        for value in (None, "a", "c", "12")
        if meets(ABSENT if value is None else {"zone": value}, requirement)
    ]
    assert found == met_by


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("-7", -7), ("007", 7), ("", None), ("1.5", None), ("٣", None), ("9" * 19, None)],
)
def test_whole_numbers_have_plain_digits_and_fit_into_64_bits(
    text: str, number: int | None
) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        (Requirement("zone", Operator.IN, ("a", "b")), "zone=a|b"),
        (Requirement("zone", Operator.NOT_IN, ("a",)), "zone!=a"),
        (Requirement("zone", Operator.EXISTS), "zone"),
        (Requirement("zone", Operator.DOES_NOT_EXIST), "no zone"),
        (Requirement("cores", Operator.GT, ("8",)), "cores > 8"),
        (Requirement("cores", Operator.LT, ("8",)), "cores < 8"),
    ],
)
def test_a_requirement_is_told_in_short(requirement: Requirement, text: str) -> None:
    assert str(requirement) == text


def test_an_affinity_names_everything_that_it_goes_by() -> None:
    term = Affinity("db", {"tier": "back"}, (Requirement("v", Operator.EXISTS),), "zone")
    assert str(term) == "workload db, tier=back, v (by zone)"
    assert str(Affinity(labels={"b": "2", "a": "1"})) == "a=1, b=2 (by node)"


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        (Toleration("gpu", value="T4"), True),
        (Toleration("gpu"), False),
        (Toleration("disk", value="T4"), False),
        (Toleration("gpu", TolerationOperator.EXISTS), True),
        (Toleration("disk", TolerationOperator.EXISTS), False),
        (Toleration(operator=TolerationOperator.EXISTS), True),
        (Toleration("gpu", value="T4", effect=TaintEffect.NO_EXECUTE), True),
        (Toleration("gpu", value="T4", effect=TaintEffect.NO_SCHEDULE), False),
    ],
)
def test_which_taints_are_tolerated(toleration: Toleration, covers: bool) -> None:
    assert toleration.covers(Taint("gpu", "T4", TaintEffect.NO_EXECUTE)) is covers


def test_a_taint_is_told_as_people_write_it() -> None:
    assert str(Taint("gpu")) == "gpu:NoSchedule"
    assert str(Taint("gpu", "T4", TaintEffect.NO_EXECUTE)) == "gpu=T4:NoExecute"


def test_classes_of_priority_stand_in_their_order() -> None:
    assert [each.rank for each in PriorityClass] == [0, 1, 2, 3, 4]
    assert PriorityClass.CRITICAL.rank > PriorityClass.NORMAL.rank > PriorityClass.BACKGROUND.rank


@pytest.mark.parametrize(
    ("asked", "need"),
    [
        ((), None),
        ((0.0,), None),
        ((0.46,), GpuNeed(460, 1, ("T4",))),
        ((0.5, 0.5), GpuNeed(1000, 1, ("T4",))),
        ((1.0, 2.0), GpuNeed(1000, 3, ("T4",))),
    ],
)
def test_an_instance_needs_the_gpus_that_its_containers_share(
    asked: tuple[float, ...], need: GpuNeed | None
) -> None:
    plain = ContainerConfig("plain", command=("x",))
    asking = (
        ContainerConfig(
            f"c{index}",
            resource_requests=NodeResources(custom={"gpu": amount}),
            gpu_model=("T4",) if index == 0 else (),
        )
        for index, amount in enumerate(asked)
    )
    assert WorkloadTemplate((plain, *asking)).gpu_need() == need
