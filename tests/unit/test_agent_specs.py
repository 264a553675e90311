"""What containers are told by their arguments and their environment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.agent.specs import container_specs, wanted_ports
from orchestrator.model.container import NetworkMode
from orchestrator.model.instance import Assignment, Wanted
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadTemplate
from orchestrator.runtime.protocol import Isolation

PINNED = "docker.io/library/web@sha256:" + 64 * "0"
ASSIGNMENT = Assignment("default", "web", 1, 4, 2, Wanted.RUNNING, "wanted")
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


def test_containers_are_told_who_they_are_and_where_to_listen() -> None:
    assert wanted_ports(TEMPLATE) == [("tcp", None), ("tcp", None), ("tcp", None)]
    app, side = container_specs(ASSIGNMENT, 99, "n1", TEMPLATE, [1001, 1002, 1003], images={})
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
        "HOST_PORT": "1001",
        "HOST_PORT_80": "1001",
        "HOST_PORT_81": "1002",
        "HOST_PORT_HTTP": "1001",
        "HOST_PORT_ADM_IN": "1003",
        "COLOUR": "blue",
    }
    assert side.env["PORT"] == "1003"
    assert side.env["PORT_HTTP"] == "1001"
    assert [each.host_port for each in side.ports] == [1003]


@pytest.mark.parametrize(
    ("network", "listens_on"), [(NetworkMode.BRIDGE, "80"), (NetworkMode.HOST, "1001")]
)
def test_container_with_its_own_network_listens_on_its_own_port(
    network: NetworkMode, listens_on: str
) -> None:
    app = ContainerConfig("app", image="web:1", ports=(PortMapping(80, name="http"),))
    template = WorkloadTemplate((app,), network=network)
    (spec,) = container_specs(ASSIGNMENT, 99, "n1", template, [1001], images={"app": PINNED})
    assert {name: spec.env[name] for name in spec.env if "PORT" in name} == {
        "PORT": listens_on,
        "PORT_80": listens_on,
        "PORT_HTTP": listens_on,
        "HOST_PORT": "1001",
        "HOST_PORT_80": "1001",
        "HOST_PORT_HTTP": "1001",
    }
    assert spec.isolation == Isolation(PINNED, app, network=network)
    assert spec.argv == ()


def test_every_container_is_told_which_gpus_the_instance_was_given() -> None:
    given = replace(ASSIGNMENT, gpus=(0, 3))
    for spec in container_specs(given, 99, "n1", TEMPLATE, [1001, 1002, 1003], images={}):
        assert spec.env["ORC_GPUS"] == "0,3"
        assert spec.env["CUDA_VISIBLE_DEVICES"] == "0,3"
        assert spec.env["NVIDIA_VISIBLE_DEVICES"] == "0,3"


def test_a_container_may_speak_to_its_gpu_library_itself() -> None:
    own = ContainerConfig("app", command=("train",), env_vars={"CUDA_VISIBLE_DEVICES": "3"})
    given = replace(ASSIGNMENT, gpus=(0, 3))
    (spec,) = container_specs(given, 99, "n1", WorkloadTemplate((own,)), [], images={})
    assert spec.env["CUDA_VISIBLE_DEVICES"] == "3"
    assert spec.env["NVIDIA_VISIBLE_DEVICES"] == spec.env["ORC_GPUS"] == "0,3"
