"""From a tree to a definition. The types of `workload` are the schema; one walker reads them.

All of a document's problems come to light at once: what cannot be read is noted, and a
stand-in of its type takes its place. Rules on values that can be read are in `rules.workload`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from orchestrator.model.manifest.values import (
    Spot,
    line_of,
    read_choice,
    read_members,
    read_number,
    read_text,
    read_texts,
    read_truth,
    read_whole_number,
)
from orchestrator.model.near_names import near_name
from orchestrator.model.problems import Findings, Path, path_text, value_text
from orchestrator.model.resources import NAMED, NodeResources
from orchestrator.model.workload import WorkloadDefinition

KIND = "Workload"


def read_definition(document: yaml.Node, findings: Findings) -> WorkloadDefinition:
    """The definition in one document; what was wrong with it is in `findings` afterwards."""
    findings.lines[()] = line_of(document)
    spot = Spot(_without_kind(document, findings), (), findings)
    definition: WorkloadDefinition = _record(WorkloadDefinition, spot)
    return definition


def _without_kind(document: yaml.Node, findings: Findings) -> yaml.Node:
    if not isinstance(document, yaml.MappingNode):
        return document
    others = []
    for key, node in document.value:
        if key.value != "kind":
            others.append((key, node))
        elif node.value != KIND:
            Spot(document, (), findings).below("kind", node).refuse(f"it must be {KIND!r}")
    return yaml.MappingNode(document.tag, others, document.start_mark)


@dataclass(frozen=True, slots=True)
class _Field:
    kind: Any
    is_required: bool


@cache
def _schema(record: type) -> dict[str, _Field]:
    hints = get_type_hints(record)
    return {
        field.name: _Field(
            _without_none(hints[field.name]),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(record)
    }


def _without_none(hint: Any) -> Any:
    return get_args(hint)[0] if isinstance(hint, UnionType) else hint


_READERS: dict[Any, Callable[[Spot], object]] = {
    str: read_text,
    int: read_whole_number,
    float: read_number,
    bool: read_truth,
    dict[str, str]: read_texts,
}


def _read(kind: Any, spot: Spot) -> Any:
    if kind in _READERS:
        return _READERS[kind](spot)
    if get_origin(kind) is tuple:
        return _items(get_args(kind)[0], spot)
    if get_origin(kind) is dict:
        return _named(get_args(kind)[1], spot)
    if kind is NodeResources:
        return _resources(spot)
    if is_dataclass(kind):
        return _record(kind, spot)
    assert issubclass(kind, StrEnum), f"no reader for {kind}"
    return read_choice(kind, spot)


def _record(kind: Any, spot: Spot) -> Any:
    """A record of that type. A member without a value counts as left out."""
    schema = _schema(kind)
    found: dict[str, Any] = {}
    for name, member in read_members(spot):
        if name not in schema:
            _note_unknown(name, schema, spot, member)
        elif not member.is_null:
            found[name] = _read(schema[name].kind, member)
    for name, field in schema.items():
        if field.is_required and name not in found:
            found[name] = _missing(field.kind, (*spot.path, name), spot.findings)
    return kind(**found)


def _note_unknown(name: str, schema: dict[str, _Field], record: Spot, member: Spot) -> None:
    near = near_name(name, schema) if record.findings.is_advice_seen else None
    where = f" in {path_text(record.path)}" if record.path else ""
    advice = f"did you mean {near!r}?" if near else f"known here: {', '.join(schema)}"
    member.note(f"unknown field {value_text(name)}{where}; {advice}")
    if near:
        record.findings.spoil((*record.path, near))


def _missing(kind: Any, path: Path, findings: Findings) -> Any:
    if not findings.is_spoilt(path):
        findings.note(path, "", f"{path_text(path)} is missing")
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind))
    return (get_origin(kind) or kind)()


def _items(kind: Any, spot: Spot) -> tuple[Any, ...]:
    if not isinstance(spot.node, yaml.SequenceNode):
        example = """, like ["sleep", "60"]""" if kind is str else ""
        spot.refuse(f"it must be a list{example}")
        return ()
    return tuple(_read(kind, spot.below(index, node)) for index, node in enumerate(spot.node.value))


def _named(kind: Any, spot: Spot) -> dict[str, Any]:
    """Records by name."""
    members = read_members(spot)
    return {name: _read(kind, member) for name, member in members if not member.is_null}


def _resources(spot: Spot) -> NodeResources:
    """Resources of one's own stand beside the named ones, or under `custom` as in records."""
    amounts: dict[str, float] = {}
    for name, member in read_members(Spot(_flattened(spot.node), spot.path, spot.findings)):
        if not member.is_null:
            amounts[name] = read_number(member)
    named = {name: amounts.pop(name) for name in NAMED if name in amounts}
    return NodeResources(**named, custom=amounts)


def _flattened(node: yaml.Node) -> yaml.Node:
    if not isinstance(node, yaml.MappingNode):
        return node
    members: list[tuple[yaml.Node, yaml.Node]] = []
    for key, member in node.value:
        is_nested = key.value == "custom" and isinstance(member, yaml.MappingNode)
        members.extend(member.value if is_nested else [(key, member)])
    return yaml.MappingNode(node.tag, members, node.start_mark)
