"""What a client supposes, as it writes it: the body of a what-if."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from orchestrator.model.errors import ConfigError
from orchestrator.model.manifest import definition_from_json
from orchestrator.model.workload import DEFAULT_NAMESPACE, WorkloadKey
from orchestrator.planning.hypotheses import (
    AddNodes,
    ApplyWorkload,
    DrainNode,
    Hypothesis,
    LoseNode,
    ScaleWorkload,
)

MAX_CHANGES = 100

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class NodeIsLost:
    """`for_good`: it has been removed from the cluster, too."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    change: Literal["lose_node"]
    node: str
    for_good: bool = False

    def hypothesis(self) -> Hypothesis:
        return LoseNode(self.node, self.for_good)


@dataclass(frozen=True, slots=True)
class NodeIsDrained:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    change: Literal["drain_node"]
    node: str

    def hypothesis(self) -> Hypothesis:
        return DrainNode(self.node)


@dataclass(frozen=True, slots=True)
class NodesAreAdded:
    """`count` new ones that are like one that is there."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    change: Literal["add_nodes"]
    count: int
    like: str

    def hypothesis(self) -> Hypothesis:
        return AddNodes(self.count, self.like)


@dataclass(frozen=True, slots=True)
class WorkloadIsScaled:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    change: Literal["scale_workload"]
    name: str
    replicas: int
    namespace: str = DEFAULT_NAMESPACE

    def hypothesis(self) -> Hypothesis:
        return ScaleWorkload(WorkloadKey(self.namespace, self.name), self.replicas)


@dataclass(frozen=True, slots=True)
class WorkloadIsApplied:
    """`manifest`: as it would be applied."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    change: Literal["apply_workload"]
    manifest: dict[str, Any]

    def hypothesis(self) -> Hypothesis:
        return ApplyWorkload(definition_from_json(self.manifest))


Supposition = Annotated[
    NodeIsLost | NodeIsDrained | NodesAreAdded | WorkloadIsScaled | WorkloadIsApplied,
    Field(discriminator="change"),
]


@dataclass(frozen=True, slots=True)
class WhatIfRequest:
    """All of them at once."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    changes: tuple[Supposition, ...]

    def hypotheses(self) -> list[Hypothesis]:
        """Raises `ConfigError` for none or too many, and `ManifestError`."""
        if not 1 <= len(self.changes) <= MAX_CHANGES:
            raise ConfigError(f"{len(self.changes)} changes: it must be 1 to {MAX_CHANGES}")
        return [each.hypothesis() for each in self.changes]
