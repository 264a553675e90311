"""What runs containers on a node: plain processes always, and images where that is possible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import structlog

from orchestrator.agent.home import AgentHome
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.container_settings import AUTO, NONE
from orchestrator.runtime.by_kind import RuntimeByKind
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.images.terms import RegistryTerms, StorageTerms
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.network.terms import NetworkTerms
from orchestrator.runtime.oci.runtime import OciRuntime
from orchestrator.runtime.oci.terms import OciTerms
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerRuntime
from orchestrator.runtime.supervised import ProcessLimits
from orchestrator.runtime.volumes.node_volumes import NodeVolumes, VolumeTerms

log = structlog.get_logger()

KNOWN_RUNTIMES = ("crun", "youki", "runc")
"""In the order of what they take to start a container."""

BYTES_A_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeContainers:
    """`images` None: the node runs plain processes only."""

    runtime: ContainerRuntime
    images: NodeImages | None
    volumes: NodeVolumes


def node_containers(settings: AgentSettings, home: AgentHome) -> NodeContainers:
    """Nothing is opened or tried yet: `ContainerRuntime.init_node` does that."""
    log_bytes = round(settings.log_file_mb * BYTES_A_MB)
    limits = ProcessLimits(log_bytes=log_bytes, log_files=settings.log_files)
    process = ProcessRuntime(home.containers, limits=limits)
    program = chosen_runtime(settings)
    if program is None:
        volumes = _volumes(settings, home, None)
        return NodeContainers(RuntimeByKind(process, None), None, volumes)
    held = _Holder()
    run_dir = settings.run_dir or Path("/run/orchestrator") / settings.node
    images = NodeImages(home.path / "images", _registry(settings), _storage(settings), in_use=held)
    volumes = _volumes(settings, home, held)
    held.oci = OciRuntime(
        home.path / "oci",
        _oci(settings, program, run_dir),
        images,
        NodeNetwork(home.path / "network", _network(settings, run_dir)),
        volumes,
    )
    return NodeContainers(RuntimeByKind(process, held.oci), images, volumes)


def chosen_runtime(settings: AgentSettings) -> str | None:
    """None: images are not run here, and the log says why. One that is named must work."""
    if settings.oci_runtime == NONE:
        return None
    if settings.oci_runtime != AUTO:
        return settings.oci_runtime
    if os.geteuid() != 0:
        log.info("images are not run here: that takes root")
        return None
    found = next((name for name in KNOWN_RUNTIMES if shutil.which(name)), None)
    missing = [name for name in (settings.conmon, settings.skopeo) if not shutil.which(name)]
    if found is None:
        missing.insert(0, " or ".join(KNOWN_RUNTIMES))
    if missing:
        log.info("images are not run here", missing=missing, advice="install them, and restart")
        return None
    return found


class _Holder:
    """Who has which image, and who runs: the runtime's answers, for those that it is made of."""

    oci: OciRuntime

    def __call__(self) -> Mapping[str, set[str]]:
        return self.oci.images_in_use()

    def is_alive(self, container_id: str) -> bool:
        return self.oci.is_alive(container_id)


def _volumes(settings: AgentSettings, home: AgentHome, held: _Holder | None) -> NodeVolumes:
    terms = VolumeTerms(settings.allow_bind)
    is_alive = held.is_alive if held else lambda _container_id: False
    return NodeVolumes(home.path / "volumes", terms, is_alive)


def _registry(settings: AgentSettings) -> RegistryTerms:
    return RegistryTerms(
        authfile=settings.registry_auth_file,
        cert_dir=settings.registry_cert_dir,
        registries_conf=settings.registries_conf,
        skopeo=settings.skopeo,
    )


def _storage(settings: AgentSettings) -> StorageTerms:
    return StorageTerms(
        high_percent=settings.image_high_percent, low_percent=settings.image_low_percent
    )


def _network(settings: AgentSettings, run_dir: Path) -> NetworkTerms:
    return NetworkTerms(
        bridge=settings.bridge,
        cidr=IPv4Network(settings.pod_cidr),
        namespace_dir=run_dir / "netns",
        mtu=settings.mtu,
        cni_bin_dir=settings.cni_bin_dir,
        conflist=settings.cni_config,
    )


def _oci(settings: AgentSettings, program: str, run_dir: Path) -> OciTerms:
    return OciTerms(
        runtime=program,
        run_dir=run_dir / "oci",
        runtime_args=settings.oci_runtime_args,
        conmon=settings.conmon,
        cgroup_parent=settings.cgroup_parent or f"/orchestrator/{settings.node}",
        log_bytes=round(settings.log_file_mb * BYTES_A_MB),
        log_files=settings.log_files,
        allow_privileged=settings.allow_privileged,
        init_program=settings.init_program,
    )
