"""What containers are told by their arguments and their environment."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.agent.specs import container_specs, wanted_ports
from orchestrator.model.instance import Assignment, Wanted
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadTemplate

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
    app, side = container_specs(ASSIGNMENT, 99, "n1", TEMPLATE, [1001, 1002, 1003])
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


def test_every_container_is_told_which_gpus_the_instance_was_given() -> None:
    given = replace(ASSIGNMENT, gpus=(0, 3))
    for spec in container_specs(given, 99, "n1", TEMPLATE, [1001, 1002, 1003]):
        assert spec.env["ORC_GPUS"] == "0,3"
        assert spec.env["CUDA_VISIBLE_DEVICES"] == "0,3"
        assert spec.env["NVIDIA_VISIBLE_DEVICES"] == "0,3"


def test_a_container_may_speak_to_its_gpu_library_itself() -> None:
    own = ContainerConfig("app", command=("train",), env_vars={"CUDA_VISIBLE_DEVICES": "3"})
    given = replace(ASSIGNMENT, gpus=(0, 3))
    (spec,) = container_specs(given, 99, "n1", WorkloadTemplate((own,)), [])
    assert spec.env["CUDA_VISIBLE_DEVICES"] == "3"
    assert spec.env["NVIDIA_VISIBLE_DEVICES"] == spec.env["ORC_GPUS"] == "0,3"
