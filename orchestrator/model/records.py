"""The JSON of each record: 1.5 to 3 microseconds to parse or to dump an instance.

Every value carries the store's stamp as its member `write`, which is nobody's business here. What
else this release does not know of a record, a newer one may have written: whoever may rewrite the
record is given it with the record, and writes it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.config import ExtraValues
from pydantic_core import SchemaValidator
from pydantic_core.core_schema import any_schema, dataclass_field, with_default_schema

from orchestrator.model.errors import StateError
from orchestrator.model.image import ImagePins
from orchestrator.model.instance import Assignment, InstanceObservation, Move
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey
from orchestrator.model.node import DesiredNode, Event, Leader, NodeReport, NodeSession
from orchestrator.model.problems import path_text
from orchestrator.model.rules.faults import Fault
from orchestrator.model.rules.workload import definition_faults, template_faults
from orchestrator.model.unknown import MAX_UNKNOWN, Unknown, put_back, set_aside
from orchestrator.model.volume import NodeVolume
from orchestrator.model.workload import DesiredWorkload, WorkloadStatus, WorkloadTemplate

LAYOUT = 1
"""Of keys and records. A release that writes what the one before it would misread, not only pass
over, raises it, when no older one is at work any more."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The record under `meta/schema`: which layout of keys and records this cluster uses.

    `store_id` is drawn by the first leader. etcd's own cluster id does not tell a store from the
    one that is started in its place with the same flags after a wipe.
    """

    version: int = LAYOUT
    store_id: str = ""

    @property
    def refusal(self) -> str:
        """Why nobody of this release may write here, in words; empty if it may."""
        if self.version <= LAYOUT:
            return ""
        return (
            f"this store is laid out by version {self.version} of the schema, and this release"
            f" knows {LAYOUT} at most: install the newer release here, too"
        )


Record = (
    Schema
    | DesiredWorkload
    | WorkloadTemplate
    | DesiredNode
    | Assignment
    | Move
    | NodeReport
    | NodeSession
    | InstanceObservation
    | NodeVolume
    | ImagePins
    | WorkloadStatus
    | Leader
    | Event
)

_TYPES: dict[Kind, type[Record]] = {
    Kind.SCHEMA: Schema,
    Kind.WORKLOAD: DesiredWorkload,
    Kind.REVISION: WorkloadTemplate,
    Kind.DESIRED_NODE: DesiredNode,
    Kind.ASSIGNMENT: Assignment,
    Kind.MOVE: Move,
    Kind.NODE_REPORT: NodeReport,
    Kind.SESSION: NodeSession,
    Kind.OBSERVATION: InstanceObservation,
    Kind.VOLUME: NodeVolume,
    Kind.IMAGE_PINS: ImagePins,
    Kind.WORKLOAD_STATUS: WorkloadStatus,
    Kind.LEADER: Leader,
    Kind.EVENT: Event,
}
_TERSE = frozenset({Assignment, InstanceObservation})
"""Written without the members that have their default: these two are the bulk of the store."""
_REWRITTEN = frozenset(
    {Schema, DesiredWorkload, WorkloadTemplate, DesiredNode, Assignment, WorkloadStatus}
)
"""Of which one release may make the next version from what another has written. (A template is
never changed, but the next generation's is made from it.)"""

_STAMP = "write"


class _Adapters(dict[type[Any], TypeAdapter[Any]]):
    """Each made when it is first needed: a client that reads no records need not wait for them."""

    def __missing__(self, record: type[Any]) -> TypeAdapter[Any]:
        extra: ExtraValues = "forbid" if record in _REWRITTEN else "ignore"
        config = ConfigDict(allow_inf_nan=False, extra=extra)
        adapter = self[record] = TypeAdapter(with_config(config)(record))
        return adapter


class _Validators(dict[type[Any], SchemaValidator]):
    """Those of the adapters; what may be rewritten may have a stamp, too, which is dropped."""

    def __missing__(self, record: type[Any]) -> SchemaValidator:
        schema = _ADAPTERS[record].core_schema
        if record in _REWRITTEN:
            outer = schema["schema"] if schema["type"] == "definitions" else schema
            assert outer["type"] == "dataclass"
            assert outer["schema"]["type"] == "dataclass-args"
            stamp = with_default_schema(any_schema(), default=None)
            outer["schema"]["fields"].append(
                dataclass_field(_STAMP, stamp, kw_only=True, init_only=True)
            )
        validator = self[record] = SchemaValidator(schema)
        return validator


_ADAPTERS = _Adapters()
_VALIDATORS = _Validators()


def dump(record: Record, unknown: Unknown = ()) -> bytes:
    """`unknown`: what an earlier version of it says that this release does not know."""
    kind = type(record)
    serializer = _ADAPTERS[kind].serializer
    if not unknown:
        return serializer.to_json(record, exclude_defaults=kind in _TERSE)
    tree = serializer.to_python(record, mode="json")
    put_back(tree, unknown)
    return json.dumps(tree, separators=(",", ":")).encode()


def load(parsed: ParsedKey, value: bytes) -> Record:
    """The record under a key. Raises `StateError` if it is damaged or disagrees with its key."""
    return read(parsed, value)[0]


def read(parsed: ParsedKey, value: bytes) -> tuple[Record, Unknown]:
    """The same, with what this release does not know of it, if it may be rewritten."""
    validator = _VALIDATORS[_TYPES[parsed.kind]]
    unknown: Unknown = ()
    try:
        try:
            record: Record = validator.validate_json(value)
        except ValidationError as invalid:
            known, unknown = _known_part(parsed, value, invalid)
            record = validator.validate_json(known)
    except ValidationError as invalid:
        raise StateError(_told(parsed, invalid)) from None
    if (problem := _disagreement(parsed, record)) is not None:
        raise StateError(problem)
    return record, unknown


def _known_part(parsed: ParsedKey, value: bytes, invalid: ValidationError) -> tuple[bytes, Unknown]:
    """Raises `invalid` itself unless it is all about members that are not known."""
    if invalid.error_count() > MAX_UNKNOWN:
        raise StateError(_damaged(parsed, f"more than {MAX_UNKNOWN} members are wrong or unknown"))
    errors = invalid.errors(include_url=False, include_input=False, include_context=False)
    locations = [each["loc"] for each in errors if each["type"] == "unexpected_keyword_argument"]
    if not locations:
        raise invalid
    try:
        tree = json.loads(value)
        tree.pop(_STAMP, None)
        unknown = set_aside(tree, locations)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise invalid from None  # a member that is there twice, or what only one parser reads
    return json.dumps(tree).encode(), unknown


def _told(parsed: ParsedKey, invalid: ValidationError) -> str:
    first = invalid.errors(include_url=False, include_input=False)[0]
    where = path_text(first["loc"]) or "the record"
    return _damaged(parsed, f"{where}: {first['msg']}")


def _damaged(parsed: ParsedKey, why: str) -> str:
    return f"{parsed.kind.value} of {parsed.name} is damaged: {why}"


def _disagreement(parsed: ParsedKey, record: Record) -> str | None:
    """What is wrong with a record that can be read; people may have edited it."""
    if isinstance(record, Assignment):
        assert isinstance(parsed.name, InstancePlace)
        named = parsed.name.instance
        if (record.namespace, record.workload, record.slot, record.attempt) != named:
            return f"the assignment {parsed.name.instance} holds that of {record.name}"
    if isinstance(record, DesiredWorkload):
        if record.spec.key != parsed.name:
            return f"the workload {parsed.name} holds the definition of {record.spec.key}"
        return _first(parsed, definition_faults(record.spec))
    if isinstance(record, WorkloadTemplate):
        return _first(parsed, template_faults(record))
    return None


def _first(parsed: ParsedKey, faults: Iterator[Fault]) -> str | None:
    return next((_damaged(parsed, fault.sentence) for fault in faults), None)
