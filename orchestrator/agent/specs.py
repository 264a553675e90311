"""From a template to what the runtime is to run: arguments, environment, ports, GPUs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.model.container import NetworkMode
from orchestrator.model.instance import Assignment, PortBinding
from orchestrator.model.workload import ContainerConfig, WorkloadTemplate
from orchestrator.runtime.protocol import ContainerSpec, Isolation


def wanted_ports(template: WorkloadTemplate) -> list[tuple[str, int | None]]:
    """(protocol, fixed host port or None) of all ports, in the template's order."""
    return [
        (port.protocol.value, port.host_port)
        for container in template.containers
        for port in container.ports
    ]


def has_own_network(template: WorkloadTemplate) -> bool:
    """Whether its ports are its own, and the node's lead to them."""
    return template.runtime() == "oci" and template.network is not NetworkMode.HOST


def container_specs(
    assignment: Assignment,
    revision: int,
    node: str,
    template: WorkloadTemplate,
    host_ports: Sequence[int],
    *,
    images: Mapping[str, str],
) -> list[ContainerSpec]:
    """`host_ports` are those chosen for `wanted_ports`, in the same order. `images` has the pinned
    image of each container, if it has any.

    Every container of the instance is told of all its ports, so that they find each other, and of
    all its GPUs, which they share.
    """
    name = assignment.name
    bindings = _bindings(template, host_ports)
    own = {**_identity(assignment, revision, node), **_gpu_variables(assignment.gpus)}
    ports = _Ports(bindings, has_own_network(template))
    return [
        ContainerSpec(
            id=f"{name}.{container.name}",
            instance=str(name),
            container=container.name,
            assignment=revision,
            argv=(*container.command, *container.args),
            env={**own, **ports.variables(container), **container.env_vars},
            working_dir=container.working_dir,
            ports=tuple(each for each in bindings if each.container == container.name),
            limits=container.resource_limits,
            siblings=len(template.containers),
            stop_grace_seconds=template.stop_grace_seconds,
            isolation=_isolation(template, container, images),
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


def _isolation(
    template: WorkloadTemplate, container: ContainerConfig, images: Mapping[str, str]
) -> Isolation | None:
    if not container.image:
        return None
    return Isolation(
        images[container.name],
        container,
        template.volumes,
        template.network,
        template.shared,
        template.user_namespace,
    )


@dataclass(frozen=True, slots=True)
class _Ports:
    """What containers are told of ports: `PORT...` is where to listen, and `HOST_PORT...` where on
    the node that is reached. Without a network of their own the two are one."""

    bindings: list[PortBinding]
    has_own_network: bool

    def variables(self, container: ContainerConfig) -> dict[str, str]:
        listen: dict[str, int] = {}
        for binding in self.bindings:
            for suffix in _suffixes(binding, is_own=binding.container == container.name):
                listen.setdefault(f"PORT{suffix}", self._inside(binding))
                listen.setdefault(f"HOST_PORT{suffix}", binding.host_port)
        return {name: str(port) for name, port in listen.items()}

    def _inside(self, binding: PortBinding) -> int:
        return binding.container_port if self.has_own_network else binding.host_port


def _suffixes(binding: PortBinding, *, is_own: bool) -> Iterator[str]:
    """The first of its own ports is also plain `PORT`."""
    if is_own:
        yield ""
        yield f"_{binding.container_port}"
    if binding.name:
        yield f"_{binding.name.upper().replace('-', '_')}"
