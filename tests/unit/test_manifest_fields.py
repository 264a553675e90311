"""Each field of a manifest, wrong in every way that we have thought of."""

from __future__ import annotations

import pytest

from orchestrator.model.manifest import parse_manifests
from tests.support.manifests import WEB, complaints


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("kind: Deployment", "kind is 'Deployment': it must be 'Workload'"),
        ("apiVersion: v1", "unknown field 'apiVersion'; known here: name, containers, namespace"),
        ("nmae: x", "unknown field 'nmae'; did you mean 'name'?"),
        ("scale: 2", "unknown field 'scale'; did you mean 'replicas'?"),
        ("onNodeLost: wait", "unknown field 'onNodeLost'; did you mean 'on_node_lost'?"),
        ("namespace: yes", "namespace is yes: without quotes it is true or false; for text"),
        ("namespace: 12", "namespace is 12: without quotes it is a number; for text, write"),
        ("namespace: 2026-01-01", "namespace is 2026-01-01: without quotes it is a date"),
        ("namespace: [a]", "namespace is a list: it must be text"),
        ("namespace: wéb", "namespace is 'wéb': it must be 1 to 63 of a-z, 0-9 and '-', with no"),
        ("namespace: a.b", "namespace is 'a.b': it must be 1 to 63 of a-z, 0-9 and '-'"),
        ("namespace: -a", "namespace is '-a': it must be 1 to 63 of a-z, 0-9 and '-'"),
        ("replicas: '3'", "replicas is '3': it must be a whole number in plain digits, without"),
        ("replicas: 2.5", "replicas is 2.5: it must be a whole number in plain digits"),
        ("replicas: 010", "replicas is 010: it must be a whole number in plain digits"),
        ("replicas: 1:30", "replicas is 1:30: it must be a whole number in plain digits"),
        ("replicas: true", "replicas is true: it must be a whole number in plain digits"),
        ("replicas: {}", "replicas is a mapping: it must be a whole number in plain digits"),
        ("replicas: -1", "replicas is -1: it must be 0 to 100000"),
        (f"replicas: {'9' * 300}", f"replicas is {'9' * 57}...: it must be 0 to 100000"),
        ("stop_grace_seconds: .nan", "stop_grace_seconds is .nan: it must be a number in plain"),
        ("stop_grace_seconds: 1e999", "stop_grace_seconds is inf: it must be 0 to 86400"),
        ("stop_grace_seconds: -0.5", "stop_grace_seconds is -0.5: it must be 0 to 86400"),
        ("lost_after_seconds: 1e9", "lost_after_seconds is 1000000000: it must be 0 to 604800"),
        ("on_node_lost: Wait", "on_node_lost is 'Wait': it must be 'replace' or 'wait' or 'fence'"),
        ("on_node_lost: [wait]", "on_node_lost is a list: it must be 'replace' or 'wait' or"),
        ("on_node_lost: zzz", "on_node_lost is 'zzz': it must be 'replace' or 'wait' or 'fence'"),
        ("labels: {a b: c}", "labels['a b'] is 'c': its name must be 1 to 63 letters, digits"),
        ("labels: {a: b c}", "labels.a is 'b c': it must be empty or 1 to 63 letters, digits"),
        ("labels: {a: }", 'labels.a is empty: it must be text; empty text is ""'),
        ("labels: {a: [b]}", 'labels.a is a list: it must be text; empty text is ""'),
        ("labels: x", "labels is 'x': it must be a mapping, of lines like 'name: value'"),
        ("restart: {backoff_seconds: 999}", "restart.max_backoff_seconds is 300: it must not be"),
        ("restart: {reset_after_seconds: x}", "restart.reset_after_seconds is 'x': it must be a"),
        ("priority: urgent", "priority is 'urgent': it must be 'background' or 'low' or 'normal'"),
        ("priority: High", "priority is 'High': it must be 'background' or 'low' or 'normal' or"),
        ("priority: 7", "priority is 7: it must be 'background' or 'low' or 'normal' or 'high' or"),
        ("gang: yes", "gang is yes: it must be true or false, without quotes"),
        ("gang: 'true'", "gang is 'true': it must be true or false, without quotes"),
        ("gang: [true]", "gang is a list: it must be true or false, without quotes"),
        ("min_available: -1", "min_available is -1: it must be 0 to 100000"),
        ("min_available: 100001", "min_available is 100001: it must be 0 to 100000"),
        ("min_available: 50%", "min_available is '50%': it must be a whole number in plain digits"),
        ("tolerations: []", "unknown field 'tolerations'; did you mean 'placement'?"),
        ("placement: [a]", "placement is a list: it must be a mapping, of lines like"),
    ],
)
def test_a_workload_field_that_is_wrong(line: str, sentence: str) -> None:
    (complaint,) = complaints(WEB + line)
    assert complaint.startswith(f"web.yaml:5: {sentence}")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("env: {A: b}", "unknown field 'env' in containers[0]; did you mean 'env_vars'?"),
        ("args: -v", 'containers[0].args is \'-v\': it must be a list, like ["sleep", "60"]'),
        ("args: [1]", "containers[0].args[0] is 1: without quotes it is a number"),
        ("args: [no]", "containers[0].args[0] is no: without quotes it is true or false"),
        ("args: [~]", "containers[0].args[0] is empty: it must be text"),
        ('args: ["a\\0"]', "containers[0].args[0] is 'a\\x00': it must not contain the character"),
        ('args: ["\\ud800"]', "containers[0].args[0] is '\\ud800': it must not contain half"),
        (f"args: [{'x' * 100_001}]", f"containers[0].args[0] is '{'x' * 56}...: it has 100001 by"),
        ("working_dir: srv", "containers[0].working_dir is 'srv': it must begin with '/'"),
        ("image: a b", "containers[0].image is 'a b': it must not contain blanks"),
        ("env_vars: {1A: b}", "containers[0].env_vars.1A is 'b': its name must be letters"),
        ("env_vars: {ORC_NODE: b}", "containers[0].env_vars.ORC_NODE is 'b': names that begin"),
        ("env_vars: {A: b, A: c}", "containers[0].env_vars.A is given twice, first in line 5"),
        ("ports: [80]", "containers[0].ports[0] is 80: it must be a mapping, of lines like"),
        ("ports: [{}]", "containers[0].ports[0].container_port is missing"),
        ("ports: [{port: 80}]", "unknown field 'port' in containers[0].ports[0]; did you mean"),
        (
            "ports: [{container_port: 80, host_port: 0}]",
            "containers[0].ports[0].host_port is 0: it must be 1 to 65535",
        ),
        (
            "ports: [{container_port: 80, protocol: TCP}]",
            "containers[0].ports[0].protocol is 'TCP': it must be 'tcp' or 'udp'; did you mean",
        ),
        (
            "ports: [{container_port: 80, name: Http}]",
            "containers[0].ports[0].name is 'Http': it must be 1 to 63 of a-z, 0-9 and '-'",
        ),
        (
            "ports: [{container_port: 80, name: '81'}]",
            "containers[0].ports[0].name is '81': it must contain a letter",
        ),
        (
            "ports: [{container_port: 80}, {container_port: 80}]",
            "containers[0].ports[1].container_port is 80: containers[0].ports[0].container_port",
        ),
        (
            "ports: [{container_port: 80, name: a}, {container_port: 81, name: a}]",
            "containers[0].ports[1].name is 'a': containers[0].ports[0].name has it already",
        ),
        ("resource_limits: 3", "containers[0].resource_limits is 3: it must be a mapping"),
        (
            "resource_limits: {cpu_cores: x}",
            "containers[0].resource_limits.cpu_cores is 'x': it must be a number in plain digits",
        ),
        (
            "resource_limits: {memory_mb: -1}",
            "containers[0].resource_limits.memory_mb is -1: it must be 0, or 0.001 to 100000000",
        ),
        (
            "resource_limits: {cpu_cores: 0.0001}",
            "containers[0].resource_limits.cpu_cores is 0.0001: it must be 0, or 0.001 to 10000",
        ),
        (
            "resource_limits: {fpga: 1e+10}",
            "containers[0].resource_limits.fpga is 10000000000: it must be 0, or 0.001 to",
        ),
        (
            "resource_limits: {memory_gb: 1}",
            "containers[0].resource_limits.memory_gb is 1: a resource of one's own needs another"
            " name; did you mean 'memory_mb'?",
        ),
        (
            "resource_limits: {cpu: 1}",
            "containers[0].resource_limits.cpu is 1: a resource of one's own needs another name;"
            " did you mean 'cpu_cores'?",
        ),
        (
            "resource_limits: {custom: 1}",
            "containers[0].resource_limits.custom is 1: a resource of one's own needs another name",
        ),
        (
            "resource_limits: {a b: 1}",
            "containers[0].resource_limits['a b'] is 1: its name must be letters, digits",
        ),
    ],
)
def test_a_container_field_that_is_wrong(line: str, sentence: str) -> None:
    (complaint,) = complaints(WEB + "    " + line)
    assert complaint.startswith(f"web.yaml:5: {sentence}")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ("{name: server, command: [x]}", "containers[1].name is 'server': containers[0].name has"),
        ("{name: b}", "containers[1].command is empty: without an image, it must name the program"),
        ("{name: b, command: ['']}", "containers[1].command[0] is '': it must name the program"),
        ("{command: [x]}", "containers[1].name is missing"),
        ("{name: b, command: x}", "containers[1].command is 'x': it must be a list"),
        ("x", "containers[1] is 'x': it must be a mapping, of lines like 'name: value'"),
        (
            "{name: b, command: [x], resource_requests: {tpu: 3}, resource_limits: {tpu: 2.5}}",
            "containers[1].resource_requests.tpu is 3: it must not be more than"
            " containers[1].resource_limits.tpu, which is 2.5",
        ),
    ],
)
def test_a_second_container_that_is_wrong(second: str, sentence: str) -> None:
    (complaint,) = complaints(f"{WEB}  - {second}\n")
    assert complaint.startswith(f"web.yaml:5: {sentence}")


def test_a_fixed_port_is_unique_in_the_whole_instance_the_containers_own_is_not() -> None:
    text = """\
name: web
containers:
  - name: a
    command: [x]
    ports: [{container_port: 80, host_port: 8080}]
  - name: b
    command: [x]
    ports:
      - container_port: 80
      - {container_port: 80, protocol: udp, host_port: 8080}
      - container_port: 81
        host_port: 8080
"""
    assert complaints(text) == [
        "web.yaml:12: containers[1].ports[2].host_port is 8080:"
        " containers[0].ports[0].host_port has it already"
    ]


def test_a_gang_is_placed_in_one_transaction() -> None:
    assert complaints(f"{WEB}gang: true\nreplicas: 51") == [
        "web.yaml:6: replicas is 51: a gang has at most 50, which are placed all at once"
    ]
    (gang,) = parse_manifests(f"{WEB}gang: true\nreplicas: 50\nmin_available: 51")
    assert (gang.gang, gang.replicas, gang.min_available) == (True, 50, 51)


def test_either_all_containers_have_an_image_or_none() -> None:
    (complaint,) = complaints(WEB + "  - {name: b, image: nginx}\n")
    assert complaint.startswith("web.yaml:3: containers[0].image is '': either all containers")
    image_only = "name: web\ncontainers: [{name: a, image: nginx}]"
    assert parse_manifests(image_only)[0].containers[0].image == "nginx"


def test_too_many_containers_or_ports() -> None:
    many = "".join(f"  - {{name: c{number}, command: [x]}}\n" for number in range(100))
    assert complaints(WEB + many) == [
        "web.yaml:2: containers is a list of 101: a workload has 1 to 100 containers"
    ]
    ports = ", ".join(f"{{container_port: {number}}}" for number in range(1, 102))
    assert complaints(f"{WEB}    ports: [{ports}]") == [
        "web.yaml:5: containers[0].ports is a list of 101: a container has at most 100"
    ]
