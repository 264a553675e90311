"""Resources: sums in whole milli-units, and amounts as people read them."""

from __future__ import annotations

import pytest

from orchestrator.model.resources import NodeResources, shown, total
from orchestrator.model.workload import (
    ContainerConfig,
    PortMapping,
    Protocol,
    RestartPolicy,
    WorkloadDefinition,
    WorkloadKey,
    WorkloadTemplate,
)


def test_quantities_are_milli_units_without_zeroes() -> None:
    resources = NodeResources(0.5, 64, custom={"gpu": 1, "tpu": 0})
    assert dict(resources.quantities()) == {"cpu_cores": 500, "memory_mb": 64_000, "gpu": 1_000}
    assert not NodeResources().quantities()


def test_sums_do_not_drift() -> None:
    tenths = [NodeResources(cpu_cores=0.1).quantities()] * 10
    assert total(tenths) == {"cpu_cores": 1_000}
    assert total([{"a": 1}, {"b": 2, "a": 3}]) == {"a": 4, "b": 2}
    assert total([]) == {}


@pytest.mark.parametrize(
    ("resource", "milli", "text"),
    [
        ("cpu_cores", 1_500, "1.5 cores"),
        ("memory_mb", 64_000, "64 MB of memory"),
        ("disk_mb", 100_000, "100 MB of disk"),
        ("gpu", 2_000, "2 gpu"),
        ("cpu_cores", 1, "0.001 cores"),
        ("cpu_cores", 0, "0 cores"),
    ],
)
def test_amounts_for_people(resource: str, milli: int, text: str) -> None:
    assert shown(resource, milli) == text


def test_an_instance_needs_what_all_its_containers_need() -> None:
    web = ContainerConfig(
        "web",
        ports=(PortMapping(80, 8080), PortMapping(81), PortMapping(53, 8080, Protocol.UDP)),
        resource_requests=NodeResources(0.1, 10),
    )
    sidecar = ContainerConfig("sidecar", resource_requests=NodeResources(0.2, custom={"gpu": 1}))
    template = WorkloadTemplate((web, sidecar))
    assert template.quantities() == {"cpu_cores": 300, "memory_mb": 10_000, "gpu": 1_000}
    assert template.host_ports() == {("tcp", 8080), ("udp", 8080)}
    assert template.runtime() == "process"
    assert WorkloadTemplate((web, ContainerConfig("db", image="postgres"))).runtime() == "oci"


def test_scaling_leaves_the_template_alone() -> None:
    spec = WorkloadDefinition("web", (ContainerConfig("a", command=("x",)),), stop_grace_seconds=3)
    assert spec.template() == WorkloadTemplate(spec.containers, 3)
    assert spec.key == WorkloadKey("default", "web")
    assert str(spec.key) == "default/web"


def test_back_off_doubles_up_to_its_bound() -> None:
    policy = RestartPolicy()
    delays = [policy.delay_seconds(failures) for failures in range(1, 9)]
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert policy.delay_seconds(1_000_000) == 300
