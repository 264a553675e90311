"""The bodies that only the server makes or reads; others are in `model.views`, `model.answers`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from orchestrator.model.answers import Identity, WatchType
from orchestrator.model.forecast import CriticalNode
from orchestrator.model.moves import PlannedMove
from orchestrator.model.node import Event
from orchestrator.model.placement import Taint
from orchestrator.model.stored_image import StoredImage
from orchestrator.model.usage import NodeUsage
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.model.volume import ListedVolume
from orchestrator.process.problems import ProblemDetails

MAX_REASON = 200
"""Characters of what a person or a program says of a move."""


@dataclass(frozen=True, slots=True)
class WorkloadList:
    revision: int
    items: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class InstanceList:
    revision: int
    items: tuple[WorkloadInstance, ...]


@dataclass(frozen=True, slots=True)
class UsageList:
    revision: int
    items: tuple[NodeUsage, ...]


@dataclass(frozen=True, slots=True)
class VolumeList:
    revision: int
    items: tuple[ListedVolume, ...]


@dataclass(frozen=True, slots=True)
class StoredImageList:
    revision: int
    items: tuple[StoredImage, ...]


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
class CriticalNodeList:
    revision: int
    items: tuple[CriticalNode, ...]


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """`to`: a node; empty stands for the best one."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    to: str = ""
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)] = "by request"


@dataclass(frozen=True, slots=True)
class NewMove(PlannedMove):
    """A move as clients send it back, without members that nobody knows."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]


@dataclass(frozen=True, slots=True)
class MovesRequest:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    moves: tuple[NewMove, ...]


@dataclass(frozen=True, slots=True)
class NewTaint(Taint):
    """A taint as clients write it, without members that nobody knows."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class NodePatch:
    """What is left out stays. `labels` are added to those there are; null takes one away.

    `taints` are added, each in the place of one with its key and effect; `remove_taints` takes
    away those that a `key` or `key:Effect` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    availability: Literal["active", "cordoned", "draining"] | None = None
    is_declared_lost: bool | None = None
    labels: dict[str, str | None] = field(default_factory=dict)
    taints: tuple[NewTaint, ...] = ()
    remove_taints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchLine:
    """`object` is its last state for DELETED, and absent from SYNC and ERROR."""

    type: WatchType
    revision: int
    object: Workload | WorkloadInstance | Node | Event | Identity | None = None
    problem: ProblemDetails | None = None
