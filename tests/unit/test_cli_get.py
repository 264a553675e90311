"""`orc get`, `describe`, `events`, `status` and the verbs for nodes, against the API itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from orchestrator.cli.columns import Setting
from orchestrator.cli.commands.why import why_text
from orchestrator.model.answers import Why
from orchestrator.model.explanation import Explanation, NodeAnswer
from orchestrator.model.instance import PortBinding
from orchestrator.model.keys import Kind
from orchestrator.model.node import Leader
from orchestrator.model.workload import WorkloadKey, WorkloadStatus
from tests.support.api import KEYS
from tests.support.orc import WEB, Orc
from tests.support.served_api import ServedApi


@pytest.fixture(scope="module")
def api() -> Iterator[ServedApi]:
    """A workload of three, of which two run on one of two nodes, and one waits."""
    with ServedApi(2) as served:
        Orc(served.servers).succeeds("apply", "-f", "-", stdin=WEB)
        status = WorkloadStatus(
            1, desired=3, running=2, updated=2, waiting=("no node has room", "for two reasons")
        )
        served.put(KEYS.workload_status(WorkloadKey("default", "web")), status)
        served.put(KEYS.leader, Leader("controller-1", "http://127.0.0.1:7401"))
        served.add_node("node-1")
        served.add_node("node-2")
        for slot, port in ((0, 21000), (1, 21001)):
            ports = (PortBinding("app", 8080, port),)
            served.add_instance(f"default.web.{slot}.1", "node-1", ports=ports)
        yield served


@pytest.fixture
def orc(api: ServedApi) -> Orc:
    return Orc(api.servers)


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("kind", ["workloads", "workload", "wl", "WorkLoads"])
def test_workloads_are_shown_with_what_waits(orc: Orc, kind: str) -> None:
    assert orc.succeeds("get", kind).splitlines() == [
        "NAME  DESIRED  RUNNING  UPDATED  WAITING",
        "web   3        2        2        no node has room",
    ]


def test_more_of_a_workload_is_shown_when_asked_for(orc: Orc) -> None:
    heads, cells = rows(orc.succeeds("get", "wl", "-o", "wide"))
    assert heads[:8] == [
        *("NAME", "DESIRED", "RUNNING", "UPDATED"),
        *("PENDING", "FAILED", "STOPPING", "GENERATION"),
    ]
    assert dict(zip(heads, cells, strict=False))["PRIORITY"] == "normal"


@pytest.mark.parametrize("kind", ["instances", "instance", "inst"])
def test_instances_are_shown_with_where_they_are_reached(orc: Orc, kind: str) -> None:
    heads, first, second = rows(orc.succeeds("get", kind))
    assert heads == ["NAME", "STATUS", "NODE", "PORTS", "AGE", "REASON"]
    assert first[:4] == ["default.web.0.1", "Running", "node-1", "127.0.0.1:21000->8080/tcp"]
    assert second[3] == "127.0.0.1:21001->8080/tcp"


@pytest.mark.parametrize("kind", ["nodes", "node", "no"])
def test_nodes_are_shown_with_their_room(orc: Orc, kind: str) -> None:
    heads, first, second = rows(orc.succeeds("get", kind))
    assert heads == [
        *("NAME", "STATUS", "AVAILABILITY", "INSTANCES", "CPU", "MEMORY"),
        *("RUNTIMES", "ADDRESS", "REASON"),
    ]
    assert first[:7] == ["node-1", "Ready", "active", "2", "4", "4000MB", "process"]
    assert second[3] == "0"


@pytest.mark.parametrize("command", [("get", "events"), ("get", "ev"), ("events",)])
def test_events_are_shown_with_their_reason(orc: Orc, command: tuple[str, ...]) -> None:
    heads, first, *_ = rows(orc.succeeds(*command))
    assert heads == ["NAMESPACE", "TIME", "KIND", "SUBJECT", "BY", "REASON"]
    assert (first[0], first[2], first[3]) == ("default", "WorkloadCreated", "default/web")


def test_instances_are_chosen_by_node_and_workload(orc: Orc) -> None:
    assert len(rows(orc.succeeds("get", "inst", "--node", "node-1", "--workload", "web"))) == 3
    for choice in (("--node", "node-2"), ("--workload", "db"), ("-n", "shop")):
        result = orc("get", "inst", *choice)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith("no instances")


def test_all_namespaces_have_a_column_for_them(orc: Orc) -> None:
    assert rows(orc.succeeds("get", "wl", "-A"))[0][:2] == ["NAMESPACE", "NAME"]


def test_json_and_yaml_hold_all_there_is(orc: Orc) -> None:
    listing = json.loads(orc.succeeds("get", "wl", "-o", "json"))
    assert listing["revision"] > 0
    assert listing["items"][0]["spec"]["replicas"] == 3
    single = yaml.safe_load(orc.succeeds("get", "inst", "default.web.0.1", "-o", "yaml"))
    assert (single["node"], single["status"]) == ("node-1", "Running")


def test_a_name_is_one_that_orc_takes_again(orc: Orc) -> None:
    name = orc.succeeds("get", "wl", "-A", "-o", "name").strip()
    assert name == "default/web"
    assert orc("get", "workload", name).exit_code == 0
    assert orc.succeeds("get", "no", "node-2", "node-1", "-o", "name").split() == [
        *("node-2", "node-1")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("workload", "wbe"), "there is no workload default/wbe; did you mean 'web'?"),
        (("instance", "default.web.0.2"), "did you mean 'default.web.0.1'?"),
        (("node", "node_1"), "did you mean 'node-1'?"),
        (("node", "a/b?c=d"), "there is no node"),
    ],
)
@pytest.mark.parametrize("verb", ["get", "describe"])
def test_an_unknown_name_is_told_with_one_that_may_be_meant(
    orc: Orc, verb: str, arguments: tuple[str, ...], told: str
) -> None:
    result = orc(verb, *arguments)
    assert result.exit_code == 4
    assert result.stderr.startswith("error: ")
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("pods",), "there is no kind 'pods'"),
        (("nodse",), "there is no kind 'nodse': did you mean 'node'?"),
        (("nodes", "--workload", "web"), "choose among instances only"),
        (("wl", "web", "-A"), "a NAME is looked for in one namespace"),
        (("ev", "web", "db"), "one subject at a time"),
        (("wl", "web", "db", "-w"), "--watch shows one NAME or all"),
        (("wl", "-o", "xml"), "'xml' is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    orc: Orc, arguments: tuple[str, ...], told: str
) -> None:
    result = orc("get", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]


def test_a_workload_is_described_with_spec_instances_urls_and_events(orc: Orc) -> None:
    text = orc.succeeds("describe", "workload", "web")
    assert "Status:      2 of 3 replicas run\n" in text
    assert "Waiting:     no node has room\n             for two reasons\n" in text
    assert "\nSpec:\n  name: web\n  replicas: 3\n" in text
    assert "http://127.0.0.1:21000" in text
    assert "WorkloadCreated" in text


def test_an_instance_is_described_with_its_containers(orc: Orc) -> None:
    text = orc.succeeds("describe", "inst", "default.web.0.1")
    assert "Ports:           127.0.0.1:21000->8080/tcp\n" in text
    assert "URLs:            http://127.0.0.1:21000\n" in text
    assert ["app", "4711", "-", "default.web.0.1.app", "-", "-"] in rows(text)


def test_a_node_is_described_with_what_runs_there(orc: Orc) -> None:
    text = orc.succeeds("describe", "node", "node-1")
    assert "Allocatable:    4 cores, 4000 MB of memory\n" in text
    assert "default.web.1.1" in text


def test_the_status_names_leader_servers_and_what_waits(api: ServedApi, orc: Orc) -> None:
    text = orc.succeeds("status")
    assert "Leader:     controller-1 at http://127.0.0.1:7401\n" in text
    assert "Instances:  2 Running\n" in text
    assert "Waiting:    default/web: no node has room\n" in text
    servers = [row[:3] for row in rows(text) if row and row[0].startswith("http")]
    assert servers == [
        [server, f"controller-{number}", str(api.revision)]
        for number, server in enumerate(api.servers)
    ]


def test_the_status_shows_a_server_that_is_down_beside_the_others(api: ServedApi) -> None:
    orc = Orc([*api.servers, "http://127.0.0.1:1"])
    assert "http://127.0.0.1:1" in orc.succeeds("status")
    assert "does not answer: connection refused" in orc.succeeds("status")
    servers = json.loads(orc.succeeds("status", "-o", "json"))["servers"]
    assert [server["summary"] is None for server in servers] == [False, False, True]


def test_a_node_is_cordoned_and_uncordoned(orc: Orc) -> None:
    assert orc.succeeds("cordon", "node-2") == "node node-2 is cordoned\n"
    assert orc.succeeds("cordon", "node-2") == "node node-2 is already cordoned\n"
    assert rows(orc.succeeds("get", "node", "node-2"))[1][2] == "cordoned"
    assert orc.succeeds("uncordon", "node-2") == "node node-2 is active\n"
    assert orc.succeeds("events", "--subject", "node-2", "--limit", "1").split()[-1] == "active"
    assert "did you mean 'node-2'?" in orc("cordon", "node2").stderr


def test_a_node_is_drained_until_it_is_empty(orc: Orc) -> None:
    assert orc.succeeds("drain", "node-2") == "node node-2 is draining\n"
    assert orc.succeeds("drain", "node-2", "--wait") == (
        "node node-2 is already draining\nnode node-2 is drained\n"
    )
    late = orc("drain", "node-1", "--wait", "--timeout", "0.3")
    assert late.exit_code == 5
    assert "node node-1: instances left: 2, after waiting for 0s" in late.stderr
    for node in ("node-1", "node-2"):
        assert orc.succeeds("uncordon", node) == f"node {node} is active\n"
    assert "did you mean 'node-2'?" in orc("drain", "node2").stderr


def test_a_node_is_tainted_and_untainted(orc: Orc) -> None:
    tainted = orc.succeeds("taint", "node-2", "gpu=T4:NoSchedule", "disk:NoExecute")
    assert tainted == (
        "node node-2 configured (taints: +gpu=T4:NoSchedule, taints: +disk:NoExecute)\n"
    )
    assert orc.succeeds("taint", "node-2", "gpu=T4:NoSchedule") == "node node-2 unchanged\n"
    heads, cells = rows(orc.succeeds("get", "node", "node-2", "-o", "wide"))
    shown = dict(zip(heads, cells, strict=True))
    assert (shown["TAINTS"], shown["GPUS"]) == ("gpu=T4:NoSchedule,disk:NoExecute", "-")
    described = orc.succeeds("describe", "node", "node-2")
    assert "Taints:         gpu=T4:NoSchedule\n                disk:NoExecute\n" in described
    removed = orc.succeeds("taint", "node-2", "gpu=T4:NoSchedule-", "disk-")
    assert removed == (
        "node node-2 configured (taints: -gpu=T4:NoSchedule, taints: -disk:NoExecute)\n"
    )
    assert "did you mean 'node-2'?" in orc("taint", "node2", "a:NoExecute").stderr


@pytest.mark.parametrize(
    ("taint", "told"),
    [
        ("gpu", "'gpu' is no taint: write KEY=VALUE:EFFECT or KEY:EFFECT, and KEY:EFFECT- or"),
        ("gpu=T4", "'gpu=T4' is no taint: write KEY=VALUE:EFFECT or KEY:EFFECT, and"),
        (":NoSchedule", "':NoSchedule' is no taint: write KEY=VALUE:EFFECT"),
        ("=a:NoExecute-", "'=a:NoExecute-' is no taint: write KEY=VALUE:EFFECT"),
        ("gpu:noschedule", "'noschedule' is no effect of a taint: did you mean 'NoSchedule'?"),
        ("gpu:-", "'' is no effect of a taint: it is one of NoSchedule, PreferNoSchedule, NoEx"),
        ("gpu:x-", "'x' is no effect of a taint: it is one of NoSchedule, PreferNoSchedule, NoEx"),
    ],
)
def test_a_taint_that_makes_no_sense_is_not_sent(orc: Orc, taint: str, told: str) -> None:
    result = orc("taint", "node-2", "a:NoExecute", taint)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {told}")
    assert rows(orc.succeeds("get", "node", "node-2", "-o", "wide"))[1][-2] == "-"


def test_a_taint_that_the_server_refuses_is_told_why(orc: Orc) -> None:
    result = orc("taint", "node-2", "a b:NoExecute")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: taints[0].key is 'a b': it must be 1 to 63 letters")


def test_only_a_node_that_is_gone_is_declared_lost_or_deleted(api: ServedApi, orc: Orc) -> None:
    api.add_node("old")
    for refused in (orc("declare-lost", "old"), orc("delete", "node", "old")):
        assert refused.exit_code == 1
        assert "is alive" in refused.stderr
    api.drop(f"{KEYS.folder(Kind.SESSION)}old")
    assert orc.succeeds("declare-lost", "old") == "node old is declared lost\n"
    assert orc.succeeds("declare-lost", "old", "--undo") == "node old is no longer declared lost\n"
    assert orc.succeeds("delete", "node", "old") == "node old deleted\n"
    assert orc("delete", "node", "old").exit_code == 4


def test_why_of_a_workload_shows_reasons_what_each_node_says_and_events(orc: Orc) -> None:
    shown = orc.succeeds("why", "web")
    assert shown.splitlines()[:4] == [
        "default/web",
        "  3 replicas wanted: 2 run, 0 are starting, 0 have failed, 0 are stopping",
        "  no node has room",
        "  for two reasons",
    ]
    assert "If it were placed now:\n  2 of 2 nodes fit" in shown
    assert "  node-2  1     fits: 0 of it, 0 % full, 0 instances" in shown
    assert "WorkloadCreated" in shown


def test_why_of_an_instance_there_gone_and_never_known(orc: Orc) -> None:
    there = json.loads(orc.succeeds("why", "default.web.0.1", "-o", "json"))
    assert there["reasons"][0] == "it is Running on node-1"
    assert [each["node"] for each in there["explanation"]["nodes"]] == ["node-2", "node-1"]
    gone = orc.succeeds("why", "default.web.0.9")
    assert gone.splitlines()[1] == "  there is no instance default.web.0.9 any more"
    unknown = orc("why", "default.nobody.0.1")
    assert unknown.exit_code == 4
    assert unknown.stderr == "error: nothing is known of an instance default.nobody.0.1\n"
    strange = orc("why", "a.b.c.d")
    assert "is no instance name" in strange.stderr
    misspelt = orc("why", "wbe")
    assert misspelt.exit_code == 4
    assert "did you mean" in misspelt.stderr


def test_why_shows_a_few_nodes_and_all_on_demand() -> None:
    nodes = (NodeAnswer("n1", rank=1, standing="0 of it"), NodeAnswer("n2", ("is cordoned",)))
    answer = Why(1, "default/web", (), Explanation("1 of 2 nodes fits", (), nodes))
    few, everyone = (why_text(answer, Setting(now=0.0), most) for most in (1, None))
    assert few.splitlines()[-2:] == [
        "  n1    1     fits: 0 of it",
        "  and 1 more: --all-nodes shows them",
    ]
    assert everyone.splitlines()[-1] == "  n2    -     is cordoned"
