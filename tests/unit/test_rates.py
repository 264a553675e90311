"""From two measurements to what is in use."""

from __future__ import annotations

from orchestrator.cli.rates import Used, by_instance, by_node
from orchestrator.model.usage import ContainerUsed, NodeUsage

WEB, DB = "default.web.0.1", "default.db.0.1"


def app(seconds: float, instance: str = WEB, container: str = "app") -> ContainerUsed:
    return ContainerUsed(instance, container, seconds, 100.0, 2.0, 400.0)


def node(at: float, *containers: ContainerUsed, name: str = "n1") -> NodeUsage:
    return NodeUsage(name, at, containers)


def test_cores_are_the_time_used_by_the_time_between() -> None:
    (used,) = by_instance([node(10, app(5))], [node(12, app(6))])
    assert used == Used(WEB, "n1", 0.5, 2.0, 100.0, 400.0, 1)
    assert (used.cpu_percent, used.memory_percent) == (25.0, 25.0)


def test_containers_of_an_instance_add_up() -> None:
    before = [node(0, app(0), app(0, container="side"))]
    after = [node(1, app(1), app(0.5, container="side"))]
    assert by_instance(before, after) == [Used(WEB, "n1", 1.5, 4.0, 200.0, 800.0, 2)]


def test_an_instance_has_no_limit_if_one_of_its_containers_has_none() -> None:
    free = ContainerUsed(WEB, "side", 0, 50.0)
    (used,) = by_instance([], [node(1, app(1), free)])
    assert (used.cpu_limit_cores, used.memory_limit_mb, used.memory_mb) == (None, None, 150.0)
    assert used.memory_percent is None


def test_what_was_seen_once_has_no_rate() -> None:
    (used,) = by_instance([node(0)], [node(1, app(1))])
    assert (used.cpu_cores, used.cpu_percent) == (None, None)


def test_time_that_went_back_is_none() -> None:
    assert by_instance([node(0, app(5))], [node(1, app(1))])[0].cpu_cores == 0.0
    assert by_instance([node(1, app(5))], [node(1, app(6))])[0].cpu_cores is None


def test_who_uses_most_comes_first() -> None:
    before = [node(0, app(0), app(0, DB))]
    after = [node(1, app(0.1), app(0.9, DB))]
    assert [each.name for each in by_instance(before, after)] == [DB, WEB]


def test_nodes_have_what_their_containers_use_of_their_room() -> None:
    before = [node(0, app(0)), node(0, name="n2")]
    after = [node(1, app(1)), node(1, name="n2"), NodeUsage("n3", problem="it is gone")]
    room = {"n1": (4.0, 1000.0), "n2": (2.0, 500.0)}
    assert by_node(before, after, room) == [
        Used("n1", "n1", 1.0, 4.0, 100.0, 1000.0, 1),
        Used("n2", "n2", 0, 2.0, 0, 500.0, 0),
    ]
