"""What-if, critical nodes, rebalancing and moves over HTTP: good requests and bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from orchestrator.api.rebalancer import Rebalancer
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Leader
from store.values import PutOp, Txn
from tests.support.api import KEYS, Replica, World, manifest, world

WEB = "/v1/workloads/default/web"
ONE_CORE = {"name": "app", "command": ["serve"], "resource_requests": {"cpu_cores": 1}}
PLACES = [InstancePlace("n1", InstanceName("default", "web", slot, 1)) for slot in range(4)]


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def replica(there: World) -> AsyncIterator[Replica]:
    """Four instances that fill n1, and n2 that is empty."""
    async with there.replica() as made:
        for node in ("n1", "n2"):
            await there.add_node(node)
        wanted = manifest(replicas=4, containers=[ONE_CORE], min_available=0)
        await made.view.reached((await made.call("PUT", WEB, wanted)).revision)
        for place in PLACES:
            await there.report(place, await there.assign(place))
        await made.view.reached(there.revision)
        yield made


def change(kind: str, **fields: Any) -> dict[str, Any]:
    return {"changes": [{"change": kind, **fields}]}


async def test_what_would_come_of_a_change_is_told_and_nothing_is_written(
    there: World, replica: Replica
) -> None:
    before = there.revision
    answer = await replica.call("POST", "/v1/whatif", change("lose_node", node="n1"))
    assert answer.status == 200
    assert answer.body["is_settled"] is True
    assert answer.body["seconds"] == 30.0
    assert [each["to_node"] for each in answer.body["instances"]] == ["n2"] * 4
    assert answer.body["nodes"][0] == {
        "node": "n1",
        "instances_before": 4,
        "instances_after": 0,
        "load_before": 1000,
        "load_after": None,
    }
    assert there.revision == before


@pytest.mark.parametrize(
    ("body", "fates"),
    [
        (change("drain_node", node="n1"), ["moved"] * 4),
        (change("add_nodes", count=2, like="n1"), []),
        (change("scale_workload", name="web", replicas=5), ["placed"]),
        (change("scale_workload", namespace="default", name="web", replicas=3), ["stopped"]),
        (change("apply_workload", manifest={**manifest(), "name": "db"}), ["placed"] * 3),
        (change("lose_node", node="n1", for_good=True), ["moved"] * 4),
    ],
)
async def test_every_kind_of_change(
    replica: Replica, body: dict[str, Any], fates: list[str]
) -> None:
    answer = await replica.call("POST", "/v1/whatif", body)
    assert [each["fate"] for each in answer.body["instances"]] == fates


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"changes": []}, 400, "0 changes: it must be 1 to 100"),
        ({}, 400, "field 'changes' is missing"),
        (change("lose_node"), 400, "field 'changes.0.lose_node.node' is missing"),
        (change("lose_node", node="n3"), 404, "there is no node n3: `orc get nodes` lists"),
        (change("add_nodes", count=-1, like="n1"), 400, "-1 new nodes: it must be 1 to 1000"),
        (change("add_nodes", count=10**6, like="n1"), 400, "1000000 new nodes: it must be"),
        (change("scale_workload", name="web", replicas=-1), 400, "replicas is -1: it must be"),
        (change("scale_workload", name="wep", replicas=1), 404, "there is no workload default/wep"),
        (change("apply_workload", manifest={"name": "x"}), 400, "containers"),
        (change("burn", node="n1"), 400, "does not match any of the expected tags"),
        (change("lose_node", node="n1", nod="x"), 400, "unknown field 'changes.0.lose_node.nod'"),
    ],
)
async def test_what_cannot_be_supposed_is_refused_in_a_sentence(
    replica: Replica, body: dict[str, Any], status: int, sentence: str
) -> None:
    answer = await replica.call("POST", "/v1/whatif", body)
    assert answer.status == status
    assert sentence in answer.body["detail"]
    assert "\n" not in answer.body["detail"]


async def test_nodes_that_cannot_be_lost_are_listed(there: World, replica: Replica) -> None:
    assert (await replica.get("/v1/critical-nodes")).body["items"] == []
    await there.drop(KEYS.session("n2"))
    await replica.view.reached(there.revision)
    [node] = (await replica.get("/v1/critical-nodes")).body["items"]
    assert (node["node"], node["instances"]) == ("n1", 4)


async def test_a_rebalance_is_planned_then_written_and_refused_where_it_has_moved(
    there: World, replica: Replica
) -> None:
    planned = (await replica.get("/v1/rebalance?target_percent=0&max_moves=5")).body
    assert (planned["before"], planned["after"], len(planned["moves"])) == (1000, 0, 2)
    await there.drop(KEYS.assignment(PLACES[0]))
    written = await replica.call("POST", "/v1/moves", {"moves": planned["moves"]})
    assert written.body["written"] == ["default.web.1.1"]
    assert written.body["refused"] == [
        {
            "instance": "default.web.0.1",
            "reason": "default.web.0.1 has changed since the move was planned, or has left n1: look"
            " again",
        }
    ]
    row = await there.value(KEYS.move(PLACES[1]))
    assert row is not None
    assert (row["to"], row["reason"]) == ("n2", "n1 is 75 % full, n2 25 %")
    await replica.view.reached(written.revision)
    again = await replica.call("POST", "/v1/moves", {"moves": planned["moves"][1:]})
    assert again.body["written"] == ["default.web.1.1"]
    kinds = [each["kind"] for each in (await replica.get("/v1/events")).body["items"]]
    assert kinds.count("InstanceToMove") == 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("target_percent=-1", "the target is -1 %: it must be 0 to 100"),
        ("target_percent=nan", "query parameter 'target_percent'"),
        ("max_moves=0", "max_moves is 0: it must be 1 to 1000"),
        ("max_move=3", "did you mean 'max_moves'?"),
    ],
)
async def test_absurd_rebalancing_is_refused(replica: Replica, query: str, sentence: str) -> None:
    answer = await replica.get(f"/v1/rebalance?{query}")
    assert answer.status == 400
    assert sentence in answer.body["detail"]


def planned_move(**fields: Any) -> dict[str, Any]:
    move = {"instance": "default.web.0.1", "from_node": "n1", "to_node": "n2", "reason": "so"}
    return {**move, "assignment": 1, **fields}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"instance": "web"}, "'web' is no instance name"),
        ({"to_node": "n7"}, "there is no node n7"),
        ({"from_node": "n2/x", "assignment": 0}, "has changed since the move was planned"),
        ({"instance": "default.web.9.1", "assignment": 0}, "has changed since the move"),
    ],
)
async def test_moves_that_cannot_be_are_refused_one_by_one(
    there: World, replica: Replica, fields: dict[str, Any], sentence: str
) -> None:
    before = there.revision
    answer = await replica.call("POST", "/v1/moves", {"moves": [planned_move(**fields)]})
    assert answer.status == 200
    [refused] = answer.body["refused"]
    assert sentence in refused["reason"]
    assert there.revision == before


async def test_no_moves_and_too_long_reasons_are_refused(replica: Replica) -> None:
    none = await replica.call("POST", "/v1/moves", {"moves": []})
    assert (none.status, none.body["detail"]) == (400, "0 moves: it must be 1 to 1000")
    long = await replica.call("POST", "/v1/moves", {"moves": [planned_move(reason="x" * 201)]})
    assert long.status == 400


async def test_an_instance_is_to_move_and_stays_after_all(there: World, replica: Replica) -> None:
    path = "/v1/instances/default.web.2.1/move"
    moved = await replica.call("PUT", path, {})
    assert (moved.status, moved.body["changes"]) == (201, ["n1 -> n2: by request"])
    row = await there.value(KEYS.move(PLACES[2]))
    assert row is not None
    assert (row["reason"], row["to"]) == ("by request", "n2")
    await replica.view.reached(moved.revision)
    again = await replica.call("PUT", path, {"to": "n2", "reason": "to even it out"})
    assert again.body["outcome"] == "unchanged"
    stale = await replica.call("DELETE", path, If_Match='"1"')
    assert stale.status == 412
    stays = await replica.call("DELETE", path)
    assert stays.body["outcome"] == "deleted"
    assert await there.value(KEYS.move(PLACES[2])) is None
    await replica.view.reached(stays.revision)
    none = await replica.call("DELETE", path)
    assert (none.status, none.body["detail"]) == (404, "nobody wants default.web.2.1 to move")
    unknown = await replica.call("DELETE", "/v1/instances/default.none.0.1/move")
    assert (unknown.status, unknown.body["detail"]) == (
        404,
        "nobody wants default.none.0.1 to move",
    )
    assert (await replica.call("DELETE", "/v1/instances/web/move")).status == 404
    first = await replica.call("PUT", path, {}, If_Match="*")
    assert first.status == 412


async def test_a_wish_that_cannot_be_read_is_written_anew_or_taken_back(
    there: World, replica: Replica
) -> None:
    gone = InstancePlace("n1", InstanceName("default", "web", 9, 1))
    for place in (PLACES[0], gone):
        await there.store.txn(Txn(success=(PutOp(KEYS.move(place), b"{"),)))
    await there.store.txn(Txn(success=(PutOp(f"{KEYS.root}desired/moves/n1/strange", b"{"),)))
    await replica.view.reached(there.revision)
    healed = await replica.call("PUT", "/v1/instances/default.web.0.1/move", {"to": "n2"})
    assert healed.body["changes"][0] == "the record could not be read, and is written anew"
    taken = await replica.call("DELETE", "/v1/instances/default.web.9.1/move")
    assert taken.body["outcome"] == "deleted"


@pytest.mark.parametrize(
    ("name", "body", "status", "sentence"),
    [
        ("default.web.0.1", {"to": "n1"}, 409, "is on n1 already: name another node, or none"),
        ("default.web.0.1", {"to": "n3"}, 404, "there is no node n3"),
        ("default.web.7.1", {}, 404, "there is no instance default.web.7.1"),
        ("default.web.0.1", {"where": "n2"}, 400, "unknown field 'where'"),
        ("default.web.0.1", {"reason": ""}, 400, "reason"),
    ],
)
async def test_a_move_that_cannot_be_is_refused_in_a_sentence(
    replica: Replica, name: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    answer = await replica.call("PUT", f"/v1/instances/{name}/move", body)
    assert answer.status == status
    assert sentence in answer.body["detail"]


async def test_an_instance_without_another_node_stays(there: World, replica: Replica) -> None:
    await there.drop(KEYS.session("n2"))
    await replica.view.reached(there.revision)
    answer = await replica.call("PUT", "/v1/instances/default.web.0.1/move", {})
    assert answer.status == 409
    assert "stays, as it has no other node: none of 2 nodes fits" in answer.body["detail"]


async def test_where_it_is_enabled_the_leaders_replica_asks_for_the_moves_itself(
    there: World, replica: Replica
) -> None:
    rebalancer = Rebalancer(replica.api, target=0, max_moves=1, look_seconds=0.01)
    balancing = asyncio.create_task(rebalancer.run())
    await there.put(KEYS.leader, Leader("somebody-else"))
    await replica.view.reached(there.revision)
    await asyncio.sleep(0.1)  # time in which it must do nothing
    assert not replica.view.state.moves
    await there.put(KEYS.leader, Leader(replica.api.replica))
    async with asyncio.timeout(10):
        while not replica.view.state.moves:
            await asyncio.sleep(0.01)
    ((place, move),) = replica.view.state.moves.items()
    assert (place.node, move.record.to) == ("n1", "n2")
    balancing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await balancing


@pytest.mark.slow
async def test_moves_that_are_refused_are_tried_again_at_growing_intervals(
    there: World, replica: Replica
) -> None:
    await there.put(KEYS.leader, Leader(replica.api.replica))
    await replica.view.reached(there.revision)
    there.cluster.engine.quota.raise_alarm()
    began = asyncio.get_running_loop().time()
    with structlog.testing.capture_logs() as logs:
        balancing = asyncio.create_task(
            Rebalancer(replica.api, target=0, max_moves=1, look_seconds=0.01).run()
        )
        async with asyncio.timeout(30):
            while len(logs) < 6:
                await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - began > 0.01 + 0.02 + 0.04 + 0.08 + 0.16
    there.cluster.engine.quota.alarms.clear()
    async with asyncio.timeout(30):
        while not replica.view.state.moves:
            await asyncio.sleep(0.01)
    balancing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await balancing


async def test_once_all_is_even_it_waits_for_the_next_node(there: World, replica: Replica) -> None:
    await there.put(KEYS.leader, Leader(replica.api.replica))
    await replica.view.reached(there.revision)
    even = Rebalancer(replica.api, target=1000, max_moves=1, look_seconds=0.01)
    balancing = asyncio.create_task(even.run())
    async with asyncio.timeout(10):
        while even.is_due():
            await asyncio.sleep(0.01)
    await there.add_node("n3")
    await replica.view.reached(there.revision)
    assert even.is_due()
    assert not replica.view.state.moves
    balancing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await balancing
