"""Host ports: picked in turn, never twice, and told when they are taken."""

from __future__ import annotations

import socket

import pytest

from orchestrator.agent.ports import PortPicker
from orchestrator.agent.specs import container_specs, wanted_ports
from orchestrator.model import errors
from orchestrator.model.instance import InstanceName
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadTemplate
from tests.support.ports import free_port

TEMPLATE = WorkloadTemplate(
    (
        ContainerConfig(
            "app",
            command=("serve", "-v"),
            args=("now",),
            env_vars={"COLOUR": "blue", "ORC_SLOT": "mine"},
            ports=(PortMapping(80, name="http"), PortMapping(81)),
        ),
        ContainerConfig("side", command=("watch",), ports=(PortMapping(90, name="adm-in"),)),
    ),
    stop_grace_seconds=3.0,
)


def test_ports_are_picked_in_turn_and_not_reused_at_once() -> None:
    first = free_port()
    picker = PortPicker("n1", first, first + 50)
    one = picker.pick([("tcp", None)], set())
    two = picker.pick([("tcp", None), ("udp", None)], set(one))
    assert len({*one, *two}) == 3
    assert min(two) > one[0]


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(errors.RuntimeError, match="no free tcp port left"):
            PortPicker("n1", port, port).pick([("tcp", None)], set())


def test_a_fixed_port_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(errors.RuntimeError, match=f"{port}/tcp is already in use on node n1"):
            PortPicker("n1", 1, 1).pick([("tcp", port)], set())


def test_containers_are_told_who_they_are_and_where_to_listen() -> None:
    assert wanted_ports(TEMPLATE) == [("tcp", None), ("tcp", None), ("tcp", None)]
    name = InstanceName("default", "web", 4, 2)
    app, side = container_specs(name, 99, "n1", TEMPLATE, [1001, 1002, 1003])
    assert app.argv == ("serve", "-v", "now")
    assert app.id == "default.web.4.2.app"
    assert (app.siblings, app.stop_grace_seconds, app.assignment) == (2, 3.0, 99)
    assert app.env == {
        "ORC_INSTANCE": "default.web.4.2",
        "ORC_NAMESPACE": "default",
        "ORC_WORKLOAD": "web",
        "ORC_SLOT": "mine",
        "ORC_ATTEMPT": "2",
        "ORC_NODE": "n1",
        "ORC_EPOCH": "99",
        "PORT": "1001",
        "PORT_80": "1001",
        "PORT_81": "1002",
        "PORT_HTTP": "1001",
        "PORT_ADM_IN": "1003",
        "COLOUR": "blue",
    }
    assert side.env["PORT"] == "1003"
    assert side.env["PORT_HTTP"] == "1001"
    assert [each.host_port for each in side.ports] == [1003]
