"""What people are told has changed, and what they may demand beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.api.differences import differences
from orchestrator.api.intents import Precondition, told
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadDefinition

APP = ContainerConfig("app", command=("serve", "--port"), env_vars={"PASSWORD": "old", "A": "1"})
SIDECAR = ContainerConfig("side", command=("watch",))
WEB = WorkloadDefinition("web", (APP, SIDECAR), labels={"tier": "front"})


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
