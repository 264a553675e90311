"""Manifests: what they may say, and the sentence for whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.model.manifest import definition_from_json, parse_manifests, to_manifest
from orchestrator.model.manifest.documents import MAX_BYTES
from orchestrator.model.problems import MAX_SHOWN, ManifestError
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import (
    ContainerConfig,
    OnNodeLost,
    PortMapping,
    Protocol,
    RestartPolicy,
    WorkloadDefinition,
)
from tests.support.manifests import WEB, complaints

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"

FULL = """\
kind: Workload
name: web
namespace: shop
replicas: 3
labels: {app: web, version: 1.10, canary: yes}
containers:
  - name: server
    command: [python3, -m, http.server]
    args: ["8080"]
    env_vars:
      LEVEL: debug
      RATIO: 0.50
      VERBOSE: true
    working_dir: /srv
    ports:
      - {container_port: 80, name: http}
      - {container_port: 53, host_port: 5353, protocol: udp}
    resource_requests: {cpu_cores: 0.5, memory_mb: 64, gpu: 1}
    resource_limits: {memory_mb: 1.28e+2}
stop_grace_seconds: 3
restart: {backoff_seconds: 1, max_backoff_seconds: 60}
on_node_lost: wait
lost_after_seconds: 120
"""
PARSED = WorkloadDefinition(
    name="web",
    namespace="shop",
    replicas=3,
    labels={"app": "web", "version": "1.10", "canary": "yes"},
    containers=(
        ContainerConfig(
            name="server",
            command=("python3", "-m", "http.server"),
            args=("8080",),
            env_vars={"LEVEL": "debug", "RATIO": "0.50", "VERBOSE": "true"},
            working_dir="/srv",
            ports=(PortMapping(80, name="http"), PortMapping(53, 5353, Protocol.UDP)),
            resource_requests=NodeResources(0.5, 64, custom={"gpu": 1}),
            resource_limits=NodeResources(memory_mb=128),
        ),
    ),
    stop_grace_seconds=3,
    restart=RestartPolicy(1, 60),
    on_node_lost=OnNodeLost.WAIT,
    lost_after_seconds=120,
)


def test_every_field_is_read() -> None:
    assert parse_manifests(FULL) == [PARSED]


def test_what_is_left_out_or_left_empty_has_its_default() -> None:
    minimal = WorkloadDefinition("web", (ContainerConfig("server", command=("sleep", "60")),))
    assert parse_manifests(WEB) == [minimal]
    assert parse_manifests(WEB + "labels:\nreplicas: ~\n") == [minimal]
    unlimited = WEB + "    resource_limits: {cpu_cores: }\n"
    assert parse_manifests(unlimited) == [minimal]


def test_a_file_may_hold_several_documents_and_empty_ones() -> None:
    text = f"---\n{WEB}---\n---\n# nothing\n---\n{WEB.replace('web', 'api')}...\n"
    assert [definition.name for definition in parse_manifests(text)] == ["web", "api"]


def test_aliases_stand_for_what_they_name() -> None:
    text = WEB + "    env_vars: &vars {A: x}\n  - {name: b, command: [x], env_vars: *vars}\n"
    first, second = parse_manifests(text)[0].containers
    assert first.env_vars == second.env_vars == {"A": "x"}


def test_json_is_read_by_its_own_rules() -> None:
    """Tabs, escaped surrogate pairs, exponents and raw line separators: YAML differs in all."""
    container = '{"name":\t"a",\t"command": ["\\ud83d\\ude00", "\u2028", "\\/"], "ports": []}'
    cpu = '"resource_requests": {"cpu_cores": 5e-1}'
    text = '{\n\t"name": "web",\n\t"containers": [' + container[:-1] + ", " + cpu + "}]}"
    (definition,) = parse_manifests(text)
    assert definition.containers[0].command == ("😀", "\u2028", "/")
    assert definition.containers[0].resource_requests.cpu_cores == 0.5


def test_json_problems_have_lines_too() -> None:
    text = '{"name": "web",\n "replicas": -1,\n "labels": {},\n "labels": {},\n "containers": {}}'
    assert complaints(text, "web.json") == [
        "web.json:2: replicas is -1: it must be 0 to 100000",
        "web.json:4: labels is given twice, first in line 3: keep one",
        "web.json:5: containers is a mapping: it must be a list",
    ]


def test_a_body_is_held_to_the_same_rules_without_lines() -> None:
    body = {"name": "web", "containers": [{"name": "a", "command": ["x"]}], "replicsa": 2}
    with pytest.raises(ManifestError) as caught:
        definition_from_json(body)
    (problem,) = caught.value.problems
    assert str(caught.value) == "unknown field 'replicsa'; did you mean 'replicas'?"
    assert (problem.field_path, problem.value_shown, problem.line) == ("replicsa", "2", None)
    assert isinstance(caught.value, ConfigError)


def test_a_body_may_keep_its_own_resources_as_records_do() -> None:
    requests = {"cpu_cores": 1, "custom": {"gpu": 2}}
    container = {"name": "a", "command": ["x"], "resource_requests": requests}
    definition = definition_from_json({"name": "web", "containers": [container]})
    assert definition.containers[0].resource_requests == NodeResources(1, custom={"gpu": 2})


def test_a_body_that_is_nested_too_deep_is_refused() -> None:
    value: object = 1
    for _ in range(50):
        value = [value]
    with pytest.raises(ManifestError, match="nested more than 40 levels deep"):
        definition_from_json(value)


def test_all_problems_of_all_documents_come_at_once_in_order() -> None:
    text = """\
name: Web_App
replicsa: 3
containers:
  - name: a
    comand: [x]
    ports: [{container_port: 99999}]
---
name: api
containers: []
"""
    assert complaints(text) == [
        "web.yaml:1: name is 'Web_App': it must be 1 to 63 of a-z, 0-9 and '-', with no '-' at"
        " either end; did you mean 'web-app'?",
        "web.yaml:2: unknown field 'replicsa'; did you mean 'replicas'?",
        "web.yaml:5: unknown field 'comand' in containers[0]; did you mean 'command'?",
        "web.yaml:6: containers[0].ports[0].container_port is 99999: it must be 1 to 65535",
        "web.yaml:9: containers is empty: a workload has 1 to 100 containers",
    ]


def test_a_problem_tells_field_value_line_and_sentence_apart() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifests(WEB + "replicas: 100001\n", source="web.yaml")
    (problem,) = caught.value.problems
    assert (problem.field_path, problem.value_shown, problem.line) == ("replicas", "100001", 5)
    assert problem.sentence == "replicas is 100001: it must be 0 to 100000"
    assert caught.value.source == "web.yaml"


def test_without_a_source_the_line_is_named() -> None:
    assert complaints(WEB + "replicas: x", "") == [
        "line 5: replicas is 'x': it must be a whole number in plain digits"
    ]


def test_a_flood_of_problems_is_cut() -> None:
    text = WEB + "".join(f"zz{number}: 1\n" for number in range(70))
    lines = complaints(text)
    assert len(lines) == 51
    assert lines[-1] == "... and 20 more problems"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "web.yaml: there is no workload in it: it is empty"),
        ("# only a comment\n---\n", "web.yaml: there is no workload in it: it is empty"),
        ("x" * (MAX_BYTES + 1), "web.yaml: it has 1048577 bytes: a manifest has at most 1048576"),
        ("web", "web.yaml:1: the document is 'web': it must be a mapping, of lines like"),
        ("\n- a", "web.yaml:2: the document is a list: it must be a mapping"),
        ("a: [b\n", "web.yaml:2: this is not YAML, at column 1: expected ',' or ']'"),
        ("a: b: c", "web.yaml:1: this is not YAML, at column 5: mapping values are not allowed"),
        ("a:\n\tb: c", "web.yaml:2: this is not YAML, at column 1: found character '\\t'"),
        ("a: 1\nb: \x07", "web.yaml:2: this is not YAML, at column 4: the character U+0007 may"),
        ("a: *b", "web.yaml:1: this is not YAML, at column 4: found undefined alias"),
        ('a: "\\U00110000"', "web.yaml: this is not YAML: an escape like \\U00110000"),
        ("a: &a [*a]", "web.yaml:1: the alias *a stands inside its own anchor"),
        ("- " * 50, "web.yaml:1: it is nested more than 40 levels deep"),
        ("[" * 100_000, "web.yaml: it is nested more than 40 levels deep"),
        ("[" * 50 + "]" * 50, "web.yaml:1: it is nested more than 40 levels deep"),
        ("? [a]\n: b", "web.yaml:1: the name of a field must be text, not a list or a mapping"),
    ],
)
def test_what_is_no_manifest_at_all(text: str, sentence: str) -> None:
    assert complaints(text)[0].startswith(sentence)


def test_a_bomb_of_aliases_is_refused_by_its_size_when_written_out() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    assert complaints("\n".join(lines)) == [
        "web.yaml:4: a workload has more than 10000 values, aliases written out"
    ]


@pytest.mark.slow
def test_so_is_one_of_documents() -> None:
    (complaint,) = complaints(f"---\n[{'x,' * 9_000}]\n" * 6)
    assert complaint.endswith(": it has more than 50000 values: make several files of it")


def test_json_has_the_same_bound() -> None:
    assert complaints("[" + "1,\n" * 60_000 + "1]") == [
        "web.yaml:10001: a workload has more than 10000 values, aliases written out"
    ]


def test_advice_is_given_only_where_it_is_read() -> None:
    ports = [{"container_port": number, "protocol": "tpc"} for number in range(1, 100)]
    containers = [{"name": "server", "command": ["x"], "ports": ports}]
    slips = {f"stop_grace_secnds{number}": 1 for number in range(99)}
    for value in ({"name": "web", "containers": containers}, slips):
        with pytest.raises(ManifestError) as caught:
            definition_from_json(value)
        advised = ["; did you mean" in problem.sentence for problem in caught.value.problems]
        assert advised[:MAX_SHOWN] == [True] * MAX_SHOWN
        assert not any(advised[MAX_SHOWN:])


def test_a_tab_is_explained() -> None:
    assert complaints("a:\n\tb: c")[0].endswith("; indent with spaces instead")


def test_a_workload_that_etcd_would_not_take_is_refused_by_its_size() -> None:
    args = ", ".join(["x" * 99_000] * 5)
    (complaint,) = complaints(f"{WEB}    args: [{args}]")
    assert complaint.startswith("web.yaml:1: the workload takes 496")


def test_a_workload_may_be_named_once_only() -> None:
    assert complaints(f"{WEB}---\n{WEB}") == ["web.yaml:6: default/web is there already, in line 1"]
    elsewhere = WEB + "namespace: other\n"
    assert len(parse_manifests(f"{WEB}---\n{elsewhere}")) == 2


def test_what_could_not_be_read_is_not_judged_as_well() -> None:
    text = "nmae: web\ncontainers:\n  - 7\n  - {name: [], command: 3}\n"
    assert complaints(text) == [
        "web.yaml:1: unknown field 'nmae'; did you mean 'name'?",
        "web.yaml:3: containers[0] is 7: it must be a mapping, of lines like 'name: value'",
        "web.yaml:4: containers[1].name is a list: it must be text",
        'web.yaml:4: containers[1].command is 3: it must be a list, like ["sleep", "60"]',
    ]


def test_a_manifest_is_written_without_defaults_and_with_scripts_in_blocks() -> None:
    container = ContainerConfig(
        "server",
        command=("sh", "-c", "echo 1\necho 2\n"),
        env_vars={"ON": "yes"},
        resource_requests=NodeResources(memory_mb=64, custom={"gpu": 1}),
    )
    assert (
        to_manifest(WorkloadDefinition("web", (container,), replicas=2))
        == """\
name: web
replicas: 2
containers:
  - name: server
    command:
      - sh
      - -c
      - |
        echo 1
        echo 2
    env_vars:
      'ON': 'yes'
    resource_requests:
      memory_mb: 64
      gpu: 1
"""
    )
    assert parse_manifests(to_manifest(PARSED)) == [PARSED]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_in_order(path: Path) -> None:
    definitions = parse_manifests(path.read_text("utf-8"), source=path.name)
    assert definitions
    assert all(parse_manifests(to_manifest(each)) == [each] for each in definitions)


def test_a_text_that_cannot_be_printed_survives_being_written() -> None:
    command = ("printf", "one\x85line", "\x85 and\nanother", "\u2028")
    spec = WorkloadDefinition("web", (ContainerConfig("app", command=command),))
    assert parse_manifests(to_manifest(spec)) == [spec]


def test_json_text_and_yaml_text_mean_the_same() -> None:
    value = {"name": "web", "containers": [{"name": "server", "command": ["sleep", "60"]}]}
    assert parse_manifests(json.dumps(value)) == parse_manifests(WEB)
    assert definition_from_json(value) == parse_manifests(WEB)[0]
