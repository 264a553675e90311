"""The keys: where each record lives, and who alone may write it (design: one writer each).

`OWNERS` is the table; tests/scenarios/test_one_writer.py holds a cluster's whole history to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from orchestrator.model.errors import ConfigError, StateError
from orchestrator.model.instance import InstanceName, is_counter
from orchestrator.model.volume import VolumeName
from orchestrator.model.workload import WorkloadKey

DEFAULT_ROOT = "/orchestrator/"

ROOT_RULE = (
    "a root is made of letters, digits, '.', '_', '-' and '/', and begins and ends with '/',"
    f" as in {DEFAULT_ROOT}"
)

_ROOT = re.compile(r"/([a-zA-Z0-9._-]+/)+")
_EVENT_PART = re.compile(r"[\w.-]{1,253}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def is_root(text: str) -> bool:
    """Whether it can stand before all keys of a cluster."""
    return _ROOT.fullmatch(text) is not None


def is_dns_label(text: str) -> bool:
    """RFC 1123: at most 63 of a-z, 0-9 and `-`, with no `-` at either end."""
    return _LABEL.fullmatch(text) is not None


class Kind(StrEnum):
    """What a key holds; the value is its folder under the root."""

    SCHEMA = "meta/schema"
    WORKLOAD = "desired/workloads"  # /<namespace>/<workload>
    REVISION = "desired/revisions"  # /<namespace>/<workload>/<generation>
    DESIRED_NODE = "desired/nodes"  # /<node>
    ASSIGNMENT = "desired/instances"  # /<node>/<instance>
    MOVE = "desired/moves"  # /<node>/<instance>
    NODE_REPORT = "observed/nodes"  # /<node>
    SESSION = "observed/sessions"  # /<node>
    OBSERVATION = "observed/instances"  # /<node>/<instance>
    VOLUME = "observed/volumes"  # /<node>/<volume>
    IMAGE_PINS = "observed/images"  # /<namespace>/<workload>/<generation>
    WORKLOAD_STATUS = "observed/workloads"  # /<namespace>/<workload>
    LEADER = "leader"
    EVENT = "events"  # /<hour>/<event>


class Role(StrEnum):
    API = "API"
    LEADER = "leader"
    AGENT = "agent"
    """Of the very node that the key names."""
    CANDIDATE = "candidate"
    """Who stands for election, or gives up what it has won."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Who writes a record, and who deletes it. What hangs on a lease also ends with that."""

    writers: tuple[Role, ...]
    deleters: tuple[Role, ...] = ()


OWNERS: dict[Kind, Owners] = {
    Kind.SCHEMA: Owners((Role.LEADER,)),
    Kind.WORKLOAD: Owners((Role.API,), deleters=(Role.API,)),
    Kind.REVISION: Owners((Role.API,), deleters=(Role.LEADER,)),
    Kind.DESIRED_NODE: Owners((Role.API,), deleters=(Role.API,)),
    Kind.ASSIGNMENT: Owners((Role.LEADER,), deleters=(Role.LEADER,)),
    Kind.MOVE: Owners((Role.API,), deleters=(Role.API, Role.LEADER)),
    Kind.NODE_REPORT: Owners((Role.AGENT,), deleters=(Role.API,)),
    Kind.SESSION: Owners((Role.AGENT,), deleters=(Role.AGENT,)),
    Kind.OBSERVATION: Owners((Role.AGENT,), deleters=(Role.AGENT, Role.LEADER)),
    Kind.VOLUME: Owners((Role.AGENT,), deleters=(Role.AGENT, Role.API)),
    Kind.IMAGE_PINS: Owners((Role.AGENT,), deleters=(Role.LEADER,)),
    Kind.WORKLOAD_STATUS: Owners((Role.LEADER,), deleters=(Role.LEADER,)),
    Kind.LEADER: Owners((Role.CANDIDATE,), deleters=(Role.CANDIDATE,)),
    Kind.EVENT: Owners((Role.API, Role.LEADER)),
}
"""One writer each, but for events, which are only ever created. What a node that is gone has left
behind is deleted for it: its report and its volumes by the API, when people remove the node, and
what it observed of instances by the leader, which forgets them. The leader also deletes a wish to
move that has been carried out, or whose instance is gone. Image pins are created by whichever agent
needs them first, and never change."""


class RevisionName(NamedTuple):
    workload: WorkloadKey
    generation: int

    def __str__(self) -> str:
        return f"{self.workload}/{self.generation}"


class InstancePlace(NamedTuple):
    """An instance and the node that its record names: unique in the whole cluster."""

    node: str
    instance: InstanceName

    def __str__(self) -> str:
        return f"{self.node}/{self.instance}"


class VolumePlace(NamedTuple):
    """A local volume and the node that has it."""

    node: str
    volume: VolumeName

    def __str__(self) -> str:
        return f"{self.node}/{self.volume}"


Name = WorkloadKey | RevisionName | InstancePlace | VolumePlace | str


class ParsedKey(NamedTuple):
    """`name` is what tells records of that kind apart, or the node's or event's text."""

    kind: Kind
    name: Name

    @property
    def workload(self) -> WorkloadKey | None:
        """The workload that the record is a part of, if it is one's."""
        if isinstance(self.name, InstancePlace):
            return self.name.instance.workload_key
        if isinstance(self.name, WorkloadKey):
            return self.name
        if isinstance(self.name, VolumePlace):
            return self.name.volume.workload_key
        return self.name.workload if isinstance(self.name, RevisionName) else None


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds and parses keys under one root, so that clusters can share an etcd."""

    root: str = DEFAULT_ROOT

    def __post_init__(self) -> None:
        if not is_root(self.root):
            raise ConfigError(f"the root {self.root!r} will not do: {ROOT_RULE}")

    @property
    def schema(self) -> str:
        return self.root + Kind.SCHEMA.value

    @property
    def leader(self) -> str:
        return self.root + Kind.LEADER.value

    def folder(self, kind: Kind) -> str:
        return f"{self.root}{kind.value}/"

    def workload(self, key: WorkloadKey) -> str:
        return f"{self.root}desired/workloads/{key.namespace}/{key.name}"

    def workload_status(self, key: WorkloadKey) -> str:
        return f"{self.root}observed/workloads/{key.namespace}/{key.name}"

    def revisions(self, key: WorkloadKey) -> str:
        """The prefix of all of a workload's revisions."""
        return f"{self.root}desired/revisions/{key.namespace}/{key.name}/"

    def revision(self, key: WorkloadKey, generation: int) -> str:
        return f"{self.revisions(key)}{generation}"

    def desired_node(self, node: str) -> str:
        return f"{self.root}desired/nodes/{node}"

    def node_report(self, node: str) -> str:
        return f"{self.root}observed/nodes/{node}"

    def session(self, node: str) -> str:
        return f"{self.root}observed/sessions/{node}"

    def assignments(self, node: str) -> str:
        """The prefix that one agent watches."""
        return f"{self.root}desired/instances/{node}/"

    def assignment(self, place: InstancePlace) -> str:
        return f"{self.assignments(place.node)}{place.instance}"

    def move(self, place: InstancePlace) -> str:
        return f"{self.root}desired/moves/{place.node}/{place.instance}"

    def observations(self, node: str) -> str:
        return f"{self.root}observed/instances/{node}/"

    def observation(self, place: InstancePlace) -> str:
        return f"{self.observations(place.node)}{place.instance}"

    def volumes(self, node: str) -> str:
        return f"{self.root}observed/volumes/{node}/"

    def volume(self, place: VolumePlace) -> str:
        return f"{self.volumes(place.node)}{place.volume}"

    def image_pins(self, key: WorkloadKey, generation: int) -> str:
        return f"{self.root}observed/images/{key.namespace}/{key.name}/{generation}"

    def event(self, hour: int, name: str) -> str:
        """`hour`: whole hours since 1970, so that events sort, and expire, by the hour."""
        return self.event_named(f"{hour}/{name}")

    def event_named(self, name: str) -> str:
        """By the name that `parse` gives it."""
        return f"{self.root}events/{name}"

    def parse(self, key: str) -> ParsedKey:
        """Raises `StateError` for a key that is none of the table's."""
        if not key.startswith(self.root):
            raise StateError(f"{key!r} is not under {self.root!r}")
        parts = key[len(self.root) :].split("/")
        parsed = _parse_place(*parts) if len(parts) == 4 else _parse(parts)
        if parsed is None:
            raise StateError(f"{key!r} is no key of the orchestrator")
        return parsed


def _parse(parts: list[str]) -> ParsedKey | None:
    if parts == ["leader"]:
        return ParsedKey(Kind.LEADER, "")
    if parts == ["meta", "schema"]:
        return ParsedKey(Kind.SCHEMA, "")
    if parts[0] == "events" and len(parts) == 3 and all(map(_EVENT_PART.fullmatch, parts[1:])):
        return ParsedKey(Kind.EVENT, f"{parts[1]}/{parts[2]}")
    kind = _KIND_BY_FOLDER.get("/".join(parts[:2]))
    return _parse_name(kind, parts[2:]) if kind else None


_BY_NODE = {Kind.DESIRED_NODE, Kind.NODE_REPORT, Kind.SESSION}
_BY_WORKLOAD = {Kind.WORKLOAD, Kind.WORKLOAD_STATUS}
_BY_GENERATION = {Kind.REVISION, Kind.IMAGE_PINS}
_KIND_BY_FOLDER = {
    kind.value: kind for kind in (*_BY_NODE, *_BY_WORKLOAD, *_BY_GENERATION, Kind.VOLUME)
}
_KIND_BY_PLACE = {
    tuple(kind.value.split("/")): kind for kind in (Kind.ASSIGNMENT, Kind.OBSERVATION, Kind.MOVE)
}
_is_known_label = lru_cache(65_536)(is_dns_label)


def _parse_place(above: str, folder: str, node: str, rest: str) -> ParsedKey | None:
    """The hot path: nearly all keys are those of instances. Others of four parts go on."""
    kind = _KIND_BY_PLACE.get((above, folder))
    if kind is None:
        return _parse([above, folder, node, rest])
    if not _is_known_label(node):
        return None
    name = InstanceName.parse(rest)
    is_ours = _is_known_label(name.namespace) and _is_known_label(name.workload)
    return ParsedKey(kind, InstancePlace(node, name)) if is_ours else None


def _parse_name(kind: Kind, rest: list[str]) -> ParsedKey | None:
    if not rest or not is_dns_label(rest[0]):
        return None
    if kind in _BY_NODE and len(rest) == 1:
        return ParsedKey(kind, rest[0])
    if kind is Kind.VOLUME and len(rest) == 2:
        return _parse_volume(rest[0], rest[1])
    if len(rest) < 2 or not is_dns_label(rest[1]):
        return None
    if kind in _BY_WORKLOAD and len(rest) == 2:
        return ParsedKey(kind, WorkloadKey(rest[0], rest[1]))
    if kind in _BY_GENERATION and len(rest) == 3 and is_counter(rest[2]):
        return ParsedKey(kind, RevisionName(WorkloadKey(rest[0], rest[1]), int(rest[2])))
    return None


def _parse_volume(node: str, rest: str) -> ParsedKey | None:
    name = VolumeName.parse(rest)
    labels = (name.namespace, name.workload, name.volume)
    return (
        ParsedKey(Kind.VOLUME, VolumePlace(node, name)) if all(map(is_dns_label, labels)) else None
    )
