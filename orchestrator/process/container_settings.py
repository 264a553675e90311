"""What can be set for the containers of a node: runtime, images, network, and what is allowed."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, model_validator

from orchestrator.process.settings import ProcessSettings, split_list

AUTO = "auto"
NONE = "none"

_INTERFACE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,9}")

_CGROUP = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+")


def _interface(text: str) -> str:
    """Short, so that names of interfaces that are made of it keep to the kernel's 15 characters."""
    if not _INTERFACE.fullmatch(text):
        raise ValueError("it must be 1 to 10 letters, digits, '_' or '-', the first a letter")
    return text


def _network(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"it must be an IPv4 network like 10.117.0.0/20: {error}") from None
    if network.prefixlen > 29:
        raise ValueError("it must have room for addresses: /29 or wider")
    return str(network)


def _cgroup(text: str) -> str:
    if text and not _CGROUP.fullmatch(text):
        raise ValueError("it must be an absolute path of letters, digits, '.', '_' and '-'")
    return text


def _absolute(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    for path in paths:
        if not path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{str(path)!r} must be an absolute path without '..'")
    return paths


class ContainerSettings(ProcessSettings):
    oci_runtime: str = Field(
        default=AUTO,
        min_length=1,
        description="The OCI runtime's program; auto: crun, youki or runc, the first that is"
        " found where the agent is root; none: only plain processes are run.",
    )
    oci_runtime_args: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        default=(), description="Global arguments of the OCI runtime, with commas between them."
    )
    conmon: str = Field(default="conmon", min_length=1, description="The program conmon.")
    skopeo: str = Field(default="skopeo", min_length=1, description="The program skopeo.")
    init_program: FilePath | None = Field(
        default=None,
        description="A static init (Debian's tini-static) for containers that ask for one.",
    )
    run_dir: Path | None = Field(
        default=None,
        description="Where the runtime's state is kept, gone after a reboot; by default"
        " /run/orchestrator/<node>.",
    )
    cgroup_parent: Annotated[str, AfterValidator(_cgroup)] = Field(
        default="",
        description="The cgroup of this node's containers; by default /orchestrator/<node>.",
    )
    bridge: Annotated[str, AfterValidator(_interface)] = Field(
        default="orc0", description="The bridge that joins this node's instances."
    )
    pod_cidr: Annotated[str, AfterValidator(_network)] = Field(
        default="10.117.0.0/20", description="The network that instances have addresses of."
    )
    mtu: int = Field(
        default=0, ge=0, le=65_535, description="Of the instances' network; 0: the uplink's."
    )
    cni_bin_dir: Path | None = Field(
        default=None,
        description="Where the plugins of --cni-config are; by default where packages put them.",
    )
    cni_config: FilePath | None = Field(
        default=None, description="A CNI network configuration list to use instead of our own."
    )
    registry_auth_file: FilePath | None = Field(
        default=None, description="Credentials for registries, as `skopeo login` writes them."
    )
    registry_cert_dir: Path | None = Field(
        default=None, description="A directory with the CA of private registries (ca.crt)."
    )
    registries_conf: FilePath | None = Field(
        default=None, description="Mirrors and plain-http registries: containers-registries.conf."
    )
    image_high_percent: float = Field(
        default=85.0, gt=0, le=100, description="Delete unused images when the disk is this full."
    )
    image_low_percent: float = Field(
        default=75.0, ge=0, le=100, description="Until it is only this full."
    )
    allow_privileged: bool = Field(
        default=False, description="Run privileged containers: they can do what root can do here."
    )
    allow_bind: Annotated[
        tuple[Path, ...], BeforeValidator(split_list), AfterValidator(_absolute)
    ] = Field(
        default=(),
        description="Paths of this node that containers may have at their wish, with all below"
        " them, with commas between.",
    )
    log_file_mb: float = Field(
        default=10.0, gt=0, le=10_000, description="How large a container's log file may grow."
    )
    log_files: int = Field(
        default=3, ge=2, le=1000, description="How many log files a container keeps."
    )

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.image_low_percent > self.image_high_percent:
            raise ValueError(
                "image_low_percent is above image_high_percent: images are deleted from the high"
                " mark down to the low one"
            )
        return self
