"""The rules for what a container made of an image may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.model.container import Device, Ulimit
from orchestrator.model.image import image_problem
from orchestrator.model.kernel import ULIMITS
from orchestrator.model.near_names import near_name
from orchestrator.model.problems import Path, path_text
from orchestrator.model.rules.faults import Fault, outside, repeated, too_many, unfit_text
from orchestrator.model.rules.image_only import image_only_faults
from orchestrator.model.rules.network import network_faults
from orchestrator.model.rules.paths import unfit_path
from orchestrator.model.rules.security import namespace_faults, security_faults
from orchestrator.model.rules.volumes import mount_faults, volume_faults
from orchestrator.model.workload import ContainerConfig, WorkloadTemplate

MAX_ULIMIT = 2**63 - 1
MAX_PIDS = 4_194_304
"""The kernel's own, PID_MAX_LIMIT."""

_ACCESS = re.compile(r"(?!.*(.).*\1)[rwm]+")


def isolation_faults(template: WorkloadTemplate) -> Iterator[Fault]:
    """All that is wrong with images, isolation, network and volumes of an instance."""
    if template.runtime() != "oci":
        yield from image_only_faults(template)
        return
    yield from volume_faults(("volumes",), template.volumes)
    yield from namespace_faults(template)
    yield from network_faults(template)
    for index, container in enumerate(template.containers):
        path = ("containers", index)
        yield from _image_faults((*path, "image"), container.image)
        yield from security_faults((*path, "security"), container.security)
        yield from mount_faults((*path, "mounts"), container.mounts, template.volumes)
        yield from _device_faults((*path, "devices"), container.devices)
        yield from _ulimit_faults((*path, "ulimits"), container.ulimits)
        yield from _pids_faults(path, container)


def _image_faults(path: Path, image: str) -> Iterator[Fault]:
    """That it is missing is told elsewhere: all containers have one, or none has."""
    if image and (problem := image_problem(image)):
        yield Fault(path, image, problem)


def _device_faults(path: Path, devices: Sequence[Device]) -> Iterator[Fault]:
    yield from too_many(path, devices)
    for index, device in enumerate(devices):
        where = (*path, index)
        yield from unfit_text((*where, "path"), device.path)
        if not device.path.startswith("/dev/"):
            rule = "it must be a device of the node, below /dev/"
            yield Fault((*where, "path"), device.path, rule)
        else:
            yield from unfit_path((*where, "path"), device.path)
        if not _ACCESS.fullmatch(device.access):
            rule = "it must be made of 'r', 'w' and 'm', each once at most"
            yield Fault((*where, "access"), device.access, rule)
    yield from repeated(
        ((*path, index, "path"), each.path, each.path) for index, each in enumerate(devices)
    )


def _ulimit_faults(path: Path, ulimits: Mapping[str, Ulimit]) -> Iterator[Fault]:
    for name, limit in ulimits.items():
        where = (*path, name)
        if name not in ULIMITS:
            near = near_name(name.lower().removeprefix("rlimit_"), ULIMITS)
            advice = f"did you mean {near!r}?" if near else f"known: {', '.join(sorted(ULIMITS))}"
            yield Fault(where, limit.soft, f"there is no limit of that name; {advice}")
        yield from outside((*where, "soft"), limit.soft, 0, MAX_ULIMIT)
        yield from outside((*where, "hard"), limit.hard, 0, MAX_ULIMIT)
        if limit.soft > limit.hard:
            rule = f"it must not be more than {path_text((*where, 'hard'))}, which is {limit.hard}"
            yield Fault((*where, "soft"), limit.soft, rule, because=(*where, "hard"))


def _pids_faults(path: Path, container: ContainerConfig) -> Iterator[Fault]:
    if container.pids_limit is not None:
        yield from outside((*path, "pids_limit"), container.pids_limit, 1, MAX_PIDS)
