"""What is written reads back as the same: records, keys and manifests. And no input at all
makes the manifest parser raise anything but its own error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.container import Device, Mount, Security, Ulimit, Volume
from orchestrator.model.errors import ConfigError, StateError
from orchestrator.model.image import ImagePins, ImageReference
from orchestrator.model.instance import Assignment, InstanceName, InstanceObservation, Move
from orchestrator.model.keys import (
    InstancePlace,
    Keys,
    Kind,
    ParsedKey,
    RevisionName,
    VolumePlace,
)
from orchestrator.model.manifest import (
    definition_from_json,
    parse_manifests,
    to_document,
    to_manifest,
)
from orchestrator.model.node import DesiredNode, Event, Leader, NodeReport, NodeSession
from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Placement,
    Toleration,
    TopologySpread,
)
from orchestrator.model.problems import ManifestError
from orchestrator.model.records import Schema, dump, load
from orchestrator.model.resources import NodeResources
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import (
    ContainerConfig,
    DesiredWorkload,
    PortMapping,
    WorkloadDefinition,
    WorkloadStatus,
)
from store.stamps import stamped
from store.transactions import SessionFence
from tests.support.definitions import (
    any_of,
    counters,
    definitions,
    dns_labels,
    instance_names,
    workload_keys,
)
from tests.support.isolation import image_references

KEYS = Keys("/test/")
unhurried = settings(deadline=None)
sparing = settings(deadline=None, max_examples=40)  # whole definitions are slow to draw

PLAIN_RECORDS = {
    Kind.SCHEMA: Schema,
    Kind.DESIRED_NODE: DesiredNode,
    Kind.NODE_REPORT: NodeReport,
    Kind.SESSION: NodeSession,
    Kind.MOVE: Move,
    Kind.OBSERVATION: InstanceObservation,
    Kind.VOLUME: NodeVolume,
    Kind.IMAGE_PINS: ImagePins,
    Kind.WORKLOAD_STATUS: WorkloadStatus,
    Kind.LEADER: Leader,
    Kind.EVENT: Event,
}


@pytest.mark.parametrize("kind", PLAIN_RECORDS)
@unhurried
@given(data=st.data())
def test_a_record_reads_back_as_written(kind: Kind, data: st.DataObject) -> None:
    record = data.draw(any_of(PLAIN_RECORDS[kind]))
    assert load(ParsedKey(kind, "any"), dump(record)) == record


@unhurried
@given(dns_labels, any_of(Assignment), instance_names)
def test_an_assignment_reads_back_as_written(
    node: str, drawn: Assignment, name: InstanceName
) -> None:
    record = replace(drawn, **name._asdict())
    parsed = ParsedKey(Kind.ASSIGNMENT, InstancePlace(node, name))
    assert load(parsed, dump(record)) == record


@sparing
@given(definitions(), counters)
def test_a_workload_and_its_template_read_back_as_written(
    spec: WorkloadDefinition, generation: int
) -> None:
    record = DesiredWorkload(spec, generation)
    assert load(ParsedKey(Kind.WORKLOAD, spec.key), dump(record)) == record
    name = RevisionName(spec.key, generation)
    assert load(ParsedKey(Kind.REVISION, name), dump(spec.template())) == spec.template()


@unhurried
@given(any_of(InstanceObservation))
def test_a_stamped_record_reads_back_as_written(record: InstanceObservation) -> None:
    value = stamped(dump(record), op="7f", base=12, fence=SessionFence("/test/leader", 9))
    assert load(ParsedKey(Kind.OBSERVATION, "any"), value) == record


@unhurried
@given(dns_labels, instance_names, workload_keys, counters)
def test_every_key_parses_to_what_it_was_built_from(
    node: str, instance: InstanceName, workload: Any, number: int
) -> None:
    place = InstancePlace(node, instance)
    revision = RevisionName(workload, number)
    volume = VolumePlace(node, VolumeName(*instance[:3], instance.workload))
    built: dict[str, ParsedKey] = {
        KEYS.schema: ParsedKey(Kind.SCHEMA, ""),
        KEYS.leader: ParsedKey(Kind.LEADER, ""),
        KEYS.workload(workload): ParsedKey(Kind.WORKLOAD, workload),
        KEYS.workload_status(workload): ParsedKey(Kind.WORKLOAD_STATUS, workload),
        KEYS.revision(workload, number): ParsedKey(Kind.REVISION, revision),
        KEYS.desired_node(node): ParsedKey(Kind.DESIRED_NODE, node),
        KEYS.node_report(node): ParsedKey(Kind.NODE_REPORT, node),
        KEYS.session(node): ParsedKey(Kind.SESSION, node),
        KEYS.assignment(place): ParsedKey(Kind.ASSIGNMENT, place),
        KEYS.move(place): ParsedKey(Kind.MOVE, place),
        KEYS.observation(place): ParsedKey(Kind.OBSERVATION, place),
        KEYS.volume(volume): ParsedKey(Kind.VOLUME, volume),
        KEYS.image_pins(workload, number): ParsedKey(Kind.IMAGE_PINS, revision),
        KEYS.event(number, node): ParsedKey(Kind.EVENT, f"{number}/{node}"),
    }
    for key, parsed in built.items():
        assert KEYS.parse(key) == parsed
        assert key.startswith(KEYS.folder(parsed.kind).rstrip("/"))
    assert {parsed.kind for parsed in built.values()} == set(Kind)


@unhurried
@given(
    st.lists(
        st.sampled_from(
            ["desired", "observed", "instances", "revisions", "volumes", "images", "a", "0", ""]
        )
        | st.text(max_size=8)
    )
)
def test_any_key_is_ours_or_a_stranger(parts: list[str]) -> None:
    """Nothing but `StateError`; and no two keys are taken for the same thing."""
    key = KEYS.root + "/".join(parts)
    try:
        parsed = KEYS.parse(key)
    except StateError:
        return
    if isinstance(parsed.name, InstancePlace):
        assert key.endswith(f"/{parsed.name.node}/{parsed.name.instance}")
    if isinstance(parsed.name, RevisionName):
        assert key in (KEYS.revision(*parsed.name), KEYS.image_pins(*parsed.name))
    if isinstance(parsed.name, VolumePlace):
        assert key == KEYS.volume(parsed.name)


@unhurried
@given(image_references())
def test_an_image_reference_reads_back_as_written(reference: ImageReference) -> None:
    assert ImageReference.parse(str(reference)) == reference
    pinned = reference.pinned(f"sha256:{'0' * 64}")
    assert ImageReference.parse(str(pinned)) == pinned
    assert pinned.repository == reference.repository


@unhurried
@given(st.text(st.sampled_from("aZ09._-:/@ é[]") | st.characters(), max_size=20))
def test_any_text_is_an_image_in_one_form_or_none(text: str) -> None:
    try:
        reference = ImageReference.parse(text)
    except ConfigError:
        return
    assert ImageReference.parse(str(reference)) == reference


@sparing
@given(definitions())
def test_a_manifest_reads_back_as_written(definition: WorkloadDefinition) -> None:
    assert parse_manifests(to_manifest(definition)) == [definition]


@sparing
@given(definitions())
def test_a_definition_is_a_valid_body_as_stored_and_as_written(
    definition: WorkloadDefinition,
) -> None:
    stored = json.loads(dump(DesiredWorkload(definition, 1)))
    assert definition_from_json(stored["spec"]) == definition
    assert definition_from_json(to_document(definition)) == definition


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
RECORDS = (
    *(WorkloadDefinition, ContainerConfig, PortMapping, NodeResources),
    *(Placement, NodeSelector, Affinity, TopologySpread, Toleration),
    *(Security, Device, Volume, Mount, Ulimit),
)
NAMES = st.text(max_size=5) | st.sampled_from(
    ["kind", "<<", *(field.name for record in RECORDS for field in fields(record))]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@unhurried
@given(TREES)
def test_any_value_is_a_definition_or_a_manifest_error(value: object) -> None:
    for parse in (
        lambda: [definition_from_json(value)],
        lambda: parse_manifests(json.dumps(value, indent=2)),
        lambda: parse_manifests(yaml.safe_dump(value)),
    ):
        _parse_or_explain(parse)


YAML_WORDS = """
name: containers: - : , [ ] { } ' " | > ~ # é &a *a ? on 0o7 1:30 2026-01-01 <<: !!str 1.1 %YAML
!!python/name:os.system \\U00110000
"""
YAML_PIECES = st.sampled_from(
    [*YAML_WORDS.split(), " ", "  ", "\n", "\t", "---\n", "\0", "\ufeff", "\u2028"]
)


@unhurried
@given(st.lists(YAML_PIECES | st.text(max_size=3), max_size=20).map("".join))
def test_any_text_is_a_manifest_or_a_manifest_error(text: str) -> None:
    _parse_or_explain(lambda: parse_manifests(text, source="any.yaml"))


def _parse_or_explain(parse: Callable[[], list[WorkloadDefinition]]) -> None:
    try:
        assert parse()
    except ManifestError as error:
        explained = error
    else:
        return
    assert explained.problems
    assert all(problem.sentence for problem in explained.problems)
    assert len(str(explained).splitlines()) <= len(explained.problems) + 1
