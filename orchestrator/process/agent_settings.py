"""What can be set for the agent of a node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrator.process.address import Address
from orchestrator.process.container_settings import ContainerSettings
from orchestrator.process.declared_resources import (
    gpu_models,
    own_amounts,
    reserved_amounts,
    split_models,
)
from orchestrator.process.settings import (
    HttpSettings,
    Name,
    PortRange,
    StoreSettings,
    as_address,
    as_port_range,
    host_label,
)


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair]
    if any(not name or not equals for name, equals, _ in pairs):
        raise ValueError("give name=value pairs with commas between them, as in zone=a,disk=ssd")
    return {name: text for name, _, text in pairs}


def _state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/orchestrator")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "orchestrator"


GpuModels = Annotated[tuple[str, ...], BeforeValidator(split_models), AfterValidator(gpu_models)]
OwnAmounts = Annotated[dict[str, float], BeforeValidator(_pairs), AfterValidator(own_amounts)]
ReservedAmounts = Annotated[
    dict[str, float], BeforeValidator(_pairs), AfterValidator(reserved_amounts)
]


class AgentSettings(ContainerSettings, StoreSettings, HttpSettings):
    bind: Annotated[Address, BeforeValidator(as_address)] = Field(
        default=Address("127.0.0.1", 7410), description="Where to serve HTTP: host:port."
    )
    node: Name = Field(default_factory=host_label, description="This node's name.")
    data_dir: Path = Field(
        default_factory=lambda: _state_dir() / "agent",
        description="Where instances, their logs and this agent's identity are kept.",
    )
    lease_ttl_seconds: int = Field(
        default=10,
        ge=2,
        le=3600,
        description="Seconds until this node is unreachable when its agent hangs or is cut off.",
    )
    labels: Annotated[dict[str, str], BeforeValidator(_pairs)] = Field(
        default_factory=dict, description="name=value pairs with commas between them."
    )
    port_range: Annotated[PortRange, BeforeValidator(as_port_range)] = Field(
        default=PortRange(21000, 21999), description="The ports that instances are given."
    )
    gpus: GpuModels = Field(
        default=(),
        description="The models of this node's GPUs in the order of their indices, with commas"
        " between them.",
    )
    resources: OwnAmounts = Field(
        default_factory=dict,
        description="What else this node has: name=amount pairs with commas between them.",
    )
    reserved_cpu_cores: float = Field(default=0.0, ge=0, description="Cores kept from instances.")
    reserved_memory_mb: float = Field(default=0.0, ge=0, description="Memory kept from instances.")
    reserved_disk_mb: float = Field(default=0.0, ge=0, description="Disk kept from instances.")
    reserved_resources: ReservedAmounts = Field(
        default_factory=dict, description="What is kept from instances of the node's resources."
    )
    accept_store: bool = Field(
        default=False,
        description="Obey this etcd even if it is another one, or an older state of the one,"
        " than this node has worked for so far.",
    )
    stop_instances_on_exit: bool = Field(
        default=False,
        description="Stop this node's instances when the agent is asked to stop; without it, only"
        " when the machine goes down.",
    )

    @model_validator(mode="after")
    def _reserves_what_there_is(self) -> Self:
        for name in self.reserved_resources:
            if name not in self.resources:
                raise ValueError(
                    f"reserved_resources names {name!r}, of which resources says nothing: give it "
                    "there too, or correct the name"
                )
        return self
