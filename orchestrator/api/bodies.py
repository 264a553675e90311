"""The bodies that only the server makes or reads; others are in `model.views`, `model.answers`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import ConfigDict

from orchestrator.model.answers import Identity, WatchType
from orchestrator.model.node import Event
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.process.problems import ProblemDetails


@dataclass(frozen=True, slots=True)
class WorkloadList:
    revision: int
    items: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class InstanceList:
    revision: int
    items: tuple[WorkloadInstance, ...]


@dataclass(frozen=True, slots=True)
class NodeList:
    revision: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class EventList:
    """The newest last."""

    revision: int
    items: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    replicas: int


@dataclass(frozen=True, slots=True)
class NodePatch:
    """What is left out stays. `labels` are added to those there are; null takes one away."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    availability: Literal["active", "cordoned"] | None = None
    is_declared_lost: bool | None = None
    labels: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WatchLine:
    """`object` is its last state for DELETED, and absent from SYNC and ERROR."""

    type: WatchType
    revision: int
    object: Workload | WorkloadInstance | Node | Event | Identity | None = None
    problem: ProblemDetails | None = None
