"""The rules for ports where the network of an instance is its own, the node's, or none."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model.container import NetworkMode
from orchestrator.model.rules.faults import Fault
from orchestrator.model.workload import WorkloadTemplate


def network_faults(template: WorkloadTemplate) -> Iterator[Fault]:
    """Of an instance of images."""
    ports = [
        (("containers", number, "ports", index), port)
        for number, container in enumerate(template.containers)
        for index, port in enumerate(container.ports)
    ]
    for path, port in ports:
        if template.network is NetworkMode.NONE:
            rule = "with network: none nobody can reach it: leave out the port, or the network"
            yield Fault((*path, "container_port"), port.container_port, rule)
        is_other = port.host_port not in (None, port.container_port)
        if template.network is NetworkMode.HOST and is_other:
            rule = f"with network: host it is container_port, {port.container_port}, or left out"
            yield Fault((*path, "host_port"), port.host_port, rule)
