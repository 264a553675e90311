"""Manifests: workload definitions as people write them, in YAML or JSON, read and written.

A document is the fields of `WorkloadDefinition` by their own names, `kind: Workload` if one
likes; a file may hold several, parted by `---`. Resources of one's own stand beside the named
ones: `{cpu_cores: 0.5, gpu: 1}`.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

import yaml

from orchestrator.model.manifest.documents import documents
from orchestrator.model.manifest.json_tree import Oversized, json_tree
from orchestrator.model.manifest.reader import read_definition
from orchestrator.model.problems import Findings, ManifestError, Problem, value_text
from orchestrator.model.records import dump
from orchestrator.model.resources import NAMED, NodeResources
from orchestrator.model.rules.faults import Fault
from orchestrator.model.rules.workload import definition_faults
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition, WorkloadKey

MAX_RECORD_BYTES = 400_000
"""Of a definition as stored: one transaction writes it and its template."""


def parse_manifests(text: str, *, source: str = "") -> list[WorkloadDefinition]:
    """The definitions in a file, in its order. `source` is its name, for the messages.

    Raises `ManifestError` with every problem of every document.
    """
    definitions: list[WorkloadDefinition] = []
    problems: list[Problem] = []
    lines: dict[WorkloadKey, int | None] = {}
    for document in documents(text, source):
        definition, findings = _checked(document)
        is_named = not (findings.is_spoilt(("name",)) or findings.is_spoilt(("namespace",)))
        if is_named and definition.key in lines:
            sentence = f"{definition.key} is there already, in line {lines[definition.key]}"
            findings.note(("name",), value_text(definition.name), sentence)
        lines.setdefault(definition.key, findings.line_of(("name",)))
        problems += findings.problems
        definitions.append(definition)
    if problems:
        raise ManifestError(problems, source=source)
    return definitions


def definition_from_json(value: object) -> WorkloadDefinition:
    """The definition in what `json.loads` gave, by the same rules; problems have no lines."""
    try:
        document = json_tree(json.dumps(value))
    except Oversized as error:
        raise ManifestError([Problem("", "", None, str(error))]) from None
    definition, findings = _checked(document)
    if findings.problems:
        raise ManifestError(replace(problem, line=None) for problem in findings.problems)
    return definition


def _checked(document: yaml.Node) -> tuple[WorkloadDefinition, Findings]:
    findings = Findings()
    definition = read_definition(document, findings)
    faults = [fault for fault in definition_faults(definition) if not _is_spoilt(fault, findings)]
    for fault in faults:
        findings.note(fault.path, value_text(fault.value), fault.sentence)
    if not findings.problems:
        size = len(dump(DesiredWorkload(definition, 1)))
        if size > MAX_RECORD_BYTES:
            sentence = f"the workload takes {size} bytes; it may take {MAX_RECORD_BYTES}"
            findings.note((), "", sentence)
    return definition, findings


def _is_spoilt(fault: Fault, findings: Findings) -> bool:
    is_baseless = bool(fault.because) and findings.is_spoilt(fault.because)
    return is_baseless or findings.is_spoilt(fault.path)


def to_manifest(definition: WorkloadDefinition) -> str:
    """The YAML that a person would write, without defaults; it reads back as the same."""
    members = to_document(definition)
    return yaml.dump(members, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def to_document(definition: WorkloadDefinition) -> dict[str, Any]:
    """The same as a JSON value: what `definition_from_json` reads."""
    members: dict[str, Any] = _written(definition)
    members["containers"] = members.pop("containers")  # last: it is the longest part
    return members


def _written(value: Any) -> Any:
    if isinstance(value, NodeResources):
        named = {name: getattr(value, name) for name in NAMED if getattr(value, name)}
        return _written({**named, **value.custom})
    if is_dataclass(value):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        defaults = {field.name: _default(field) for field in fields(value)}
        chosen = {name: each for name, each in members.items() if each != defaults[name]}
        return _written(chosen)
    if isinstance(value, dict):
        return {name: _written(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


class _Dumper(yaml.SafeDumper):
    """Indents lists, and writes texts of several lines in blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        if not text.replace("\n", "").isprintable():  # PyYAML would write some as line breaks
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)
