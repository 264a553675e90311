"""Reads over HTTP: what this replica's mirror holds, with the revision stated."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestrator.model.instance import InstanceName, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Event, Leader
from orchestrator.model.workload import WorkloadKey, WorkloadStatus
from store.memory.meanness import Meanness
from tests.support.api import KEYS, Replica, World, manifest, world

PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))
OTHER = InstancePlace("n2", InstanceName("blue", "db", 0, 10))


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def replica(there: World) -> AsyncIterator[Replica]:
    async with there.replica() as made:
        yield made


async def populate(there: World, replica: Replica) -> None:
    """Two nodes, n2 lost; a workload in each of two namespaces, an instance on each node."""
    await replica.call("PUT", "/v1/workloads/default/web", manifest())
    await replica.call("PUT", "/v1/workloads/blue/db", manifest())
    await there.add_node("n1")
    await there.add_node("n2")
    await there.drop(KEYS.session("n2"))
    for place in (PLACE, OTHER):
        await there.report(place, await there.assign(place))
    await replica.view.reached(there.revision)


async def test_workloads_are_listed_by_namespace_and_shown_with_their_etag(
    there: World, replica: Replica
) -> None:
    await populate(there, replica)

    everything = await replica.get("/v1/workloads")
    blue = await replica.get("/v1/workloads?namespace=blue")
    one = await replica.get("/v1/workloads/default/web")

    assert everything.body["revision"] == everything.revision == there.revision
    assert [item["name"] for item in everything.body["items"]] == ["db", "web"]
    assert [item["name"] for item in blue.body["items"]] == ["db"]
    assert one.body["spec"]["replicas"] == 3
    assert one.headers["ETag"] == f'"{one.body["mod_revision"]}"'


async def test_instances_are_listed_by_namespace_workload_and_node(
    there: World, replica: Replica
) -> None:
    await populate(there, replica)

    async def names(query: str) -> list[str]:
        answer = await replica.get(f"/v1/instances{query}")
        return [item["name"] for item in answer.body["items"]]

    assert await names("") == ["blue.db.0.10", "default.web.0.1"]
    assert await names("?namespace=default") == ["default.web.0.1"]
    assert await names("?workload=db") == ["blue.db.0.10"]
    assert await names("?node=n1") == ["default.web.0.1"]
    assert await names("?node=n1&workload=db") == []
    one = await replica.get("/v1/instances/default.web.0.1")
    assert (one.body["node"], one.body["status"]) == ("n1", "Running")
    lost = await replica.get("/v1/instances/blue.db.0.10")
    assert lost.body["status"] == "Unknown"


async def test_nodes_are_listed_and_shown(there: World, replica: Replica) -> None:
    await populate(there, replica)
    answer = await replica.get("/v1/nodes")
    assert [(node["name"], node["status"]) for node in answer.body["items"]] == [
        ("n1", "Ready"),
        ("n2", "Unknown"),
    ]
    one = await replica.get("/v1/nodes/n1")
    assert (one.body["instances"], one.headers["ETag"]) == (1, '"0"')


async def test_events_come_newest_last_and_by_subject(there: World, replica: Replica) -> None:
    written = [
        ("default/web", "default"),
        ("default.web.0.1", "default"),
        ("default/webshop", "default"),
        ("blue/web", "blue"),
        ("n1", ""),
    ]
    for index, (subject, namespace) in enumerate(written):
        event = Event(100.0 - index, "Tested", subject, f"reason {index}", "c1", namespace)
        await there.put(KEYS.event(7, f"{99 - index:03d}"), event)
    await replica.view.reached(there.revision)

    async def subjects(query: str) -> list[str]:
        answer = await replica.get(f"/v1/events{query}")
        return [event["subject"] for event in answer.body["items"]]

    assert await subjects("") == [subject for subject, _ in written]
    assert await subjects("?limit=2") == ["blue/web", "n1"]
    assert await subjects("?namespace=blue") == ["blue/web"]
    assert await subjects("?subject=default/web") == ["default/web", "default.web.0.1"]
    assert await subjects("?subject=web&namespace=default") == ["default/web", "default.web.0.1"]
    assert await subjects("?subject=default.web.0.1") == ["default.web.0.1"]
    assert await subjects("?subject=n1") == ["n1"]


async def test_the_cluster_is_summed_up(there: World) -> None:
    async with there.replica(warnings=lambda: ["etcd 3.5.1 loses data"]) as replica:
        await populate(there, replica)
        await there.put(KEYS.leader, Leader("c2", "http://c2:7400", 42))
        waiting = WorkloadStatus(1, waiting=("no node has room",))
        await there.put(KEYS.workload_status(WorkloadKey("default", "web")), waiting)
        damaged_at = await there.put(KEYS.workload(WorkloadKey("default", "bad")), b"nonsense")
        await replica.view.reached(there.revision)

        summary = (await replica.get("/v1/cluster")).body

    assert (summary["replica"], summary["revision"]) == ("c1", there.revision)
    assert summary["leader"] == {"replica": "c2", "address": "http://c2:7400", "pid": 42}
    assert (summary["is_synced"], summary["workloads"]) == (True, 2)
    assert summary["instances"] == {"Running": 1, "Unknown": 1}
    assert summary["nodes"] == {"Ready": 1, "Unknown": 1}
    assert summary["waiting"] == [{"workload": "default/web", "reason": "no node has room"}]
    assert [(record["key"], record["mod_revision"]) for record in summary["damaged"]] == [
        (KEYS.workload(WorkloadKey("default", "bad")), damaged_at)
    ]
    assert summary["warnings"] == ["etcd 3.5.1 loses data"]
    assert summary["silent_seconds"] >= 0


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/v1/workloads/default/none", 404, "there is no workload default/none"),
        ("/v1/workloads/default/a%2Fb", 404, "that is no name for one"),
        ("/v1/instances/default.web.0.7", 404, "there is no instance default.web.0.7"),
        ("/v1/instances/what", 404, "'what' is no instance name"),
        ("/v1/nodes/none", 404, "there is no node none"),
        ("/v1/nodes/a%2Fb", 404, "that is no name for one"),
        ("/v1/workloads?namespce=x", 400, "did you mean 'namespace'?"),
        ("/v1/workloads?namespace=x&namespace=y", 400, "'namespace' is given twice"),
        ("/v1/events?limit=0", 400, "parameter 'limit' cannot be '0'"),
        ("/v1/events?limit=many", 400, "parameter 'limit' cannot be 'many'"),
        ("/v1/nodes?min_revision=-1", 400, "parameter 'min_revision' cannot be '-1'"),
        ("/v1/watch", 400, "parameter 'kind' is missing"),
        ("/v1/watch?kind=everything", 400, "parameter 'kind' cannot be 'everything'"),
        ("/v1/openapi.json?pretty=1", 400, "unknown query parameter 'pretty'"),
    ],
)
async def test_what_cannot_be_read_is_told_in_a_sentence(
    replica: Replica, path: str, status: int, sentence: str
) -> None:
    answer = await replica.get(path)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert sentence in answer.body["detail"]
    assert "X-Revision" in answer.headers


async def test_a_read_waits_for_the_revision_that_it_must_see(there: World) -> None:
    async with there.replica("c1") as one, there.replica("c2") as two:
        await two.view.synced()
        there.cluster.treat(Meanness(watch_seconds=(0.2, 0.2)), "c2")
        written = await one.call("PUT", "/v1/workloads/default/web", manifest())
        early = await two.get("/v1/workloads/default/web")
        late = await two.get(f"/v1/workloads/default/web?min_revision={written.revision}")
    assert early.status == 404
    assert (late.status, late.revision) == (200, written.revision)


async def test_a_read_does_not_wait_for_ever(there: World) -> None:
    async with there.replica(read_patience_seconds=0.05) as replica:
        await replica.view.synced()
        answer = await replica.get("/v1/nodes?min_revision=999")
    assert answer.status == 504
    assert answer.body["detail"] == (
        f"this replica has read up to revision {there.revision}, not yet up to 999: "
        "try again, ask another replica, or for a lower min_revision"
    )


async def test_a_replica_that_has_read_nothing_yet_says_so(there: World) -> None:
    there.cluster.connect("c1")
    there.cluster.cut("c1")
    async with there.replica("c1", read_patience_seconds=0.05) as replica:
        refused = await replica.get("/v1/workloads")
        written = await replica.call("PUT", "/v1/workloads/default/web", manifest())
        summary = await replica.get("/v1/cluster")
    for answer in (refused, written):
        assert answer.status == 504
        assert answer.body["detail"] == (
            "this replica has not read the store yet: try again, or ask another replica"
        )
    assert (summary.status, summary.body["is_synced"]) == (200, False)
    assert summary.body["silent_seconds"] is None


async def test_an_instance_that_has_failed_stays_so_on_a_lost_node(
    there: World, replica: Replica
) -> None:
    await there.add_node("n1")
    await there.report(PLACE, await there.assign(PLACE), WorkloadInstanceStatus.FAILED)
    await replica.view.reached(await there.drop(KEYS.session("n1")))
    answer = await replica.get("/v1/instances/default.web.0.1")
    assert answer.body["status"] == "Failed"
