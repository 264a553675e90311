"""Tables and the cells in them: what people and `awk` get to read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.cli.columns import (
    Setting,
    columns_of,
    duration_text,
    hosts_of,
    pairs_text,
    port_text,
    reason_of,
    time_text,
)
from orchestrator.cli.kinds import Kind
from orchestrator.cli.tables import Column, format_fields, format_table, lines_of, one_line
from orchestrator.model.instance import PortBinding, WorkloadInstanceStatus
from orchestrator.model.node import Availability, NodeStatus
from orchestrator.model.placement import Taint, TaintEffect
from orchestrator.model.resources import NodeResources
from orchestrator.model.views import Node
from orchestrator.model.workload import Protocol
from tests.support.told_instances import instance

PAIR: Sequence[Column[tuple[str, str]]] = (
    Column("NAME", lambda pair: pair[0]),
    Column("REASON", lambda pair: pair[1]),
)


def table(*rows: tuple[str, str]) -> str:
    return format_table(lines_of(PAIR, rows))


def test_columns_are_as_wide_as_they_must_be_and_nothing_trails() -> None:
    assert table(("a", "x"), ("a-long-name", "no room")).split("\n") == [
        "NAME         REASON",
        "a            x",
        "a-long-name  no room",
    ]


def test_nothing_is_cut_off_however_long() -> None:
    assert "y" * 5_000 in table(("a", "y" * 5_000))


def test_an_empty_cell_is_a_dash_so_that_words_are_columns() -> None:
    assert table(("a", "")).split("\n")[1].split() == ["a", "-"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", "two lines"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("bell\a and \u202eback", "bell and back"),
        ("  ", "-"),
    ],
)
def test_no_text_can_break_a_table_or_a_terminal(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_wide_characters_take_two_places_and_accents_none() -> None:
    rows = table(("日本", "x"), ("e\u0301a", "y")).split("\n")
    assert rows[1:] == ["日本  x", "e\u0301a    y"]


def test_wide_columns_are_shown_only_when_asked_for() -> None:
    columns: list[Column[str]] = [Column("A", str), Column("B", str, is_wide=True)]
    assert lines_of(columns, ["x"]) == [["A"], ["x"]]
    assert lines_of(columns, ["x"], wide=True) == [["A", "B"], ["x", "x"]]


def test_a_colour_changes_no_width() -> None:
    painted = format_table([["STATUS", "NODE"], ["Running", "n"]], lambda cell: f"<{cell}>")
    assert painted.split("\n") == ["STATUS   NODE", "<Running>  <n>"]


def test_fields_stand_under_each_other() -> None:
    assert format_fields([("Name", "web"), ("Waiting", "one\ntwo"), ("Ports", "")]).split("\n") == [
        "Name:     web",
        "Waiting:  one",
        "          two",
        "Ports:    -",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (172_800, "2d")],
)
def test_durations_name_the_largest_unit_of_which_there_are_two(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_moment_is_told_in_utc() -> None:
    assert time_text(0) == "1970-01-01T00:00:00Z"
    assert time_text(1e30) == "-"


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "127.0.0.1:21000->80/udp"),
        ("::1", "[::1]:21000->80/udp"),
        ("", "21000->80/udp"),
    ],
)
def test_a_port_says_where_it_is_reached(host: str, text: str) -> None:
    assert port_text(PortBinding("app", 80, 21000, Protocol.UDP), host) == text


def node(name: str, address: str) -> Node:
    room = NodeResources(cpu_cores=1.5, memory_mb=4000, custom={"gpu": 2.0})
    return Node(
        name=name,
        status=NodeStatus.READY,
        availability=Availability.ACTIVE,
        address=address,
        capacity=room,
        allocatable=room,
        runtimes=("process", "oci"),
        labels={"zone": "b", "disk": "ssd"},
        versions={"crun": "1.8.1", "conmon": "2.1.6"},
        hostname="",
        instances=2,
        taints=(Taint("gpu"), Taint("a", "b", TaintEffect.NO_EXECUTE)),
        gpus=("T4", "A10", "T4"),
    )


def test_the_hosts_of_nodes_come_from_their_agents_addresses() -> None:
    nodes = [node("a", "http://10.0.0.1:7410"), node("b", "[::1]:7410"), node("c", "")]
    assert hosts_of(nodes) == {"a": "10.0.0.1", "b": "::1"}


def test_a_node_has_one_word_for_each_column() -> None:
    columns = columns_of(Kind.NODES, Setting(0))
    heads, cells = lines_of(columns, [node("a", "http://h:1")], wide=True)
    shown = dict(zip(heads, cells, strict=True))
    assert (shown["CPU"], shown["MEMORY"], shown["RUNTIMES"]) == ("1.5", "4000MB", "process,oci")
    assert shown["VERSIONS"] == "conmon=2.1.6,crun=1.8.1"
    assert (shown["CUSTOM"], shown["LABELS"]) == ("gpu=2", "disk=ssd,zone=b")
    assert (shown["GPUS"], shown["TAINTS"]) == ("A10=1,T4=2", "gpu:NoSchedule,a=b:NoExecute")
    assert pairs_text({}) == ""


@pytest.mark.parametrize(
    ("changes", "age"),
    [
        ({}, "-"),
        ({"started_at": 40.0}, "60s"),
        ({"started_at": 40.0, "finished_at": 45.0}, "5s"),
        ({"started_at": 140.0}, "0s"),
    ],
)
def test_the_age_of_an_instance_is_how_long_it_ran(changes: dict[str, float], age: str) -> None:
    ports = (PortBinding("app", 80, 21000), PortBinding("app", 81, 21001))
    columns = columns_of(Kind.INSTANCES, Setting(100.0, {"a": "h"}))
    _, cells = lines_of(columns, [instance(ports=ports, **changes)])
    assert cells == [
        *("default.web.0.1", "Running", "a"),
        "h:21000->80/tcp,h:21001->81/tcp",
        *(age, "-"),
    ]


def test_the_devices_of_an_instance_are_shown_when_asked_for() -> None:
    heads, cells = lines_of(
        columns_of(Kind.INSTANCES, Setting(0)), [instance(gpus=(0, 3))], wide=True
    )
    assert dict(zip(heads, cells, strict=True))["GPUS"] == "0,3"


@pytest.mark.parametrize(
    ("status", "reason", "shown"),
    [
        (WorkloadInstanceStatus.RUNNING, "", ""),
        (WorkloadInstanceStatus.RUNNING, "restarted", "restarted"),
        (WorkloadInstanceStatus.PENDING, "", "it has room"),
        (WorkloadInstanceStatus.FAILED, "exited with 1", "exited with 1"),
    ],
)
def test_an_instance_has_its_agents_reason_or_the_leaders(
    status: WorkloadInstanceStatus, reason: str, shown: str
) -> None:
    assert reason_of(instance(status=status, reason=reason)) == shown
