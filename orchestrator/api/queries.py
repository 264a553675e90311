"""What may stand behind the `?` of each endpoint. Anything else is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Name = Annotated[str, Field(max_length=253)]
MAX_SECONDS = 253_402_300_799
"""The last second of the year 9999."""

Revision = Annotated[int, Field(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Query:
    """Base of all queries, and the one of endpoints that take none."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class ReadQuery(Query):
    min_revision: Annotated[
        Revision, Field(description="Wait until this replica has read up to this revision.")
    ] = 0


@dataclass(frozen=True, slots=True)
class WriteQuery(Query):
    dry_run: Annotated[bool, Field(description="Say what would happen, and write nothing.")] = False


@dataclass(frozen=True, slots=True)
class WorkloadsQuery(ReadQuery):
    namespace: Name = ""


@dataclass(frozen=True, slots=True)
class InstancesQuery(ReadQuery):
    namespace: Name = ""
    workload: Name = ""
    node: Name = ""


@dataclass(frozen=True, slots=True)
class EventsQuery(ReadQuery):
    namespace: Name = ""
    subject: Annotated[
        Name,
        Field(description="A workload (its instances are included), an instance or a node."),
    ] = ""
    limit: Annotated[int, Field(ge=1, le=100_000, description="How many, the newest of them.")] = (
        500
    )


@dataclass(frozen=True, slots=True)
class RebalanceQuery(ReadQuery):
    target_percent: Annotated[
        float,
        Field(
            allow_inf_nan=False,
            description="By how much the fullest node's load may be above the emptiest one's.",
        ),
    ] = 10.0
    max_moves: Annotated[int, Field(description="Plan no more than so many.")] = 20


@dataclass(frozen=True, slots=True)
class LogsQuery(ReadQuery):
    container: Name = ""
    follow: Annotated[bool, Field(description="Keep sending new lines as they come.")] = False
    tail: Annotated[
        int | None,
        Field(
            ge=0, le=10_000_000, description="Only this many of the last lines of each container."
        ),
    ] = None
    since: Annotated[
        float | None,
        Field(
            ge=0,
            le=MAX_SECONDS,
            allow_inf_nan=False,
            description="Only lines from then on, in seconds since 1970 on the nodes' clocks.",
        ),
    ] = None
    previous: Annotated[
        bool, Field(description="Of the attempt before it in the same slot, as far as kept.")
    ] = False


@dataclass(frozen=True, slots=True)
class ExecQuery(ReadQuery):
    container: Annotated[
        Name, Field(description="Which of its containers; may be left out if it has one only.")
    ] = ""


@dataclass(frozen=True, slots=True)
class AttachQuery(ExecQuery):
    stdin: Annotated[bool, Field(description="Refuse, if its standard input is not kept open.")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class UsageQuery(ReadQuery):
    node: Annotated[Name, Field(description="Of this node only.")] = ""


@dataclass(frozen=True, slots=True)
class VolumesQuery(ReadQuery):
    namespace: Name = ""
    workload: Name = ""
    node: Name = ""
    sizes: Annotated[
        bool, Field(description="Have the agents measure them, which may take long.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuery(Query):
    image: Annotated[
        str, Field(min_length=1, max_length=512, description="As `docker pull` takes it.")
    ]


class WatchKind(StrEnum):
    WORKLOADS = "workloads"
    INSTANCES = "instances"
    NODES = "nodes"
    EVENTS = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchQuery(ReadQuery):
    kind: WatchKind
    namespace: Name = ""
    name: Annotated[Name, Field(description="Of the object; of events, their subject.")] = ""
    from_revision: Annotated[
        Revision | None,
        Field(description="No list: only what has changed since, as told by a SYNC line."),
    ] = None
