"""What people are told has changed, and what they may demand beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.api.differences import differences
from orchestrator.api.intents import Precondition, told
from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    Placement,
    PriorityClass,
    Strategy,
)
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadDefinition

APP = ContainerConfig("app", command=("serve", "--port"), env_vars={"PASSWORD": "old", "A": "1"})
SIDECAR = ContainerConfig("side", command=("watch",))
ZONE, DISK = NodeSelector("zone", values=("a",)), NodeSelector("disk", Operator.EXISTS, weight=5)
PLACED = Placement(nodes=(ZONE, DISK), anti_affinity=(Affinity("web"),))
WEB = WorkloadDefinition("web", (APP, SIDECAR), labels={"tier": "front"}, placement=PLACED)


def shown(selector: NodeSelector) -> str:
    """The beginning of a list, cut where lines are."""
    return f'[{{"key": "{selector.key}", "operator": "In", "values": ["a"], "weig...'


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (WEB, ()),
        (replace(WEB, replicas=5), ("replicas: 1 -> 5",)),
        (
            replace(WEB, labels={"tier": "back", "new": "x"}),
            ('labels.tier: "front" -> "back"', "labels.new: added"),
        ),
        (replace(WEB, containers=(SIDECAR, APP)), ("containers: in another order",)),
        (replace(WEB, containers=(APP,)), ("containers.side: removed",)),
        (
            replace(WEB, containers=(replace(APP, command=("serve",)), SIDECAR)),
            ('containers.app.command: ["serve", "--port"] -> ["serve"]',),
        ),
        (
            replace(WEB, containers=(replace(APP, env_vars={"PASSWORD": "new"}), SIDECAR)),
            ("containers.app.env_vars.PASSWORD: changed", "containers.app.env_vars.A: removed"),
        ),
        (
            replace(WEB, containers=(replace(APP, args=("x" * 99,)), SIDECAR)),
            (f'containers.app.args: [] -> ["{"x" * 55}...',),
        ),
        (
            replace(WEB, containers=(replace(APP, ports=(PortMapping(80, name="http"),)), SIDECAR)),
            (
                'containers.app.ports: [] -> [{"container_port": 80, "host_port": null, '
                '"protocol": "t...',
            ),
        ),
        (
            replace(WEB, placement=replace(PLACED, nodes=(replace(ZONE, values=("b",)), DISK))),
            ('placement.nodes.zone.values: ["a"] -> ["b"]',),
        ),
        (
            replace(WEB, placement=replace(PLACED, nodes=(ZONE, DISK, DISK))),
            (f"placement.nodes: {shown(ZONE)} -> {shown(ZONE)}",),
        ),
        (
            replace(WEB, placement=replace(PLACED, strategy=Strategy.PACK, anti_affinity=())),
            (
                'placement.strategy: null -> "pack"',
                'placement.anti_affinity: [{"workload": "web", "labels": {}, "expressions": [], '
                '"to... -> []',
            ),
        ),
        (
            replace(WEB, priority=PriorityClass.HIGH, gang=True, min_available=2),
            ('priority: "normal" -> "high"', "gang: false -> true", "min_available: null -> 2"),
        ),
    ],
)
def test_changes_are_told_a_line_for_each_field(
    after: WorkloadDefinition, lines: tuple[str, ...]
) -> None:
    assert differences(WEB, after) == lines


def test_values_of_the_environment_are_told_to_nobody() -> None:
    secret = replace(WEB, containers=(replace(APP, env_vars={"PASSWORD": "hunter2"}), SIDECAR))
    assert "hunter2" not in str(differences(WEB, secret) + differences(secret, WEB))


def test_an_event_tells_the_first_few_changes() -> None:
    assert told(["a", "b"]) == "a; b"
    assert told(list("abcdefg")) == "a; b; c; d; e; and 2 more"


@pytest.mark.parametrize(
    ("precondition", "mod_revision", "holds"),
    [
        (Precondition(), 0, True),
        (Precondition(must_be_absent=True), 0, True),
        (Precondition(must_be_absent=True), 7, False),
        (Precondition(must_exist=True), 0, False),
        (Precondition(must_exist=True), 7, True),
        (Precondition(frozenset({7})), 7, True),
        (Precondition(frozenset({7})), 8, False),
        (Precondition(frozenset({7})), 0, False),
    ],
)
def test_preconditions_hold_or_say_why_not(
    precondition: Any, mod_revision: int, holds: bool
) -> None:
    assert (precondition.broken(mod_revision) is None) is holds
