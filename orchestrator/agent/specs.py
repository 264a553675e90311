"""From a template to what the runtime is to run: arguments, environment, ports, GPUs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.instance import Assignment, PortBinding
from orchestrator.model.workload import ContainerConfig, WorkloadTemplate
from orchestrator.runtime.protocol import ContainerSpec


def wanted_ports(template: WorkloadTemplate) -> list[tuple[str, int | None]]:
    """(protocol, fixed host port or None) of all ports, in the template's order."""
    return [
        (port.protocol.value, port.host_port)
        for container in template.containers
        for port in container.ports
    ]


def container_specs(
    assignment: Assignment,
    revision: int,
    node: str,
    template: WorkloadTemplate,
    host_ports: Sequence[int],
) -> list[ContainerSpec]:
    """`host_ports` are those chosen for `wanted_ports`, in the same order.

    Every container of the instance is told of all its ports, so that they find each other, and of
    all its GPUs, which they share.
    """
    name = assignment.name
    bindings = _bindings(template, host_ports)
    own = {**_identity(assignment, revision, node), **_gpu_variables(assignment.gpus)}
    return [
        ContainerSpec(
            id=f"{name}.{container.name}",
            instance=str(name),
            container=container.name,
            assignment=revision,
            argv=(*container.command, *container.args),
            env={**own, **_port_variables(container, bindings), **container.env_vars},
            working_dir=container.working_dir,
            ports=tuple(each for each in bindings if each.container == container.name),
            limits=container.resource_limits,
            siblings=len(template.containers),
            stop_grace_seconds=template.stop_grace_seconds,
        )
        for container in template.containers
    ]


def _bindings(template: WorkloadTemplate, host_ports: Sequence[int]) -> list[PortBinding]:
    chosen = iter(host_ports)
    return [
        PortBinding(
            container=container.name,
            container_port=port.container_port,
            host_port=next(chosen),
            protocol=port.protocol,
            name=port.name,
        )
        for container in template.containers
        for port in container.ports
    ]


def _identity(assignment: Assignment, revision: int, node: str) -> dict[str, str]:
    """`ORC_EPOCH` only ever grows over a slot's attempts: a fencing token for what can fence."""
    return {
        "ORC_INSTANCE": str(assignment.name),
        "ORC_NAMESPACE": assignment.namespace,
        "ORC_WORKLOAD": assignment.workload,
        "ORC_SLOT": str(assignment.slot),
        "ORC_ATTEMPT": str(assignment.attempt),
        "ORC_NODE": node,
        "ORC_EPOCH": str(revision),
    }


def _gpu_variables(gpus: Sequence[int]) -> dict[str, str]:
    """The indices of the devices that it was given, also where CUDA and NVIDIA's container runtime
    look for them. Nothing is said to what was given none."""
    if not gpus:
        return {}
    names = ("ORC_GPUS", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
    return dict.fromkeys(names, ",".join(map(str, gpus)))


def _port_variables(container: ContainerConfig, bindings: list[PortBinding]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for binding in bindings:
        if binding.container == container.name:
            variables.setdefault("PORT", str(binding.host_port))
            variables[f"PORT_{binding.container_port}"] = str(binding.host_port)
        if binding.name:
            variables[f"PORT_{binding.name.upper().replace('-', '_')}"] = str(binding.host_port)
    return variables
