"""Writes over HTTP: what they put into the store, what they answer, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import DesiredNode
from orchestrator.model.workload import WorkloadKey
from store.memory.meanness import Meanness
from tests.support.api import KEYS, Replica, World, manifest, world

WEB = "/v1/workloads/default/web"
KEY = WorkloadKey("default", "web")


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def replica(there: World) -> AsyncIterator[Replica]:
    async with there.replica() as made:
        yield made


async def event_kinds(replica: Replica) -> list[str]:
    return [event["kind"] for event in (await replica.get("/v1/events")).body["items"]]


async def test_a_new_workload_is_created_with_its_template_and_event(
    there: World, replica: Replica
) -> None:
    answer = await replica.call("PUT", WEB, manifest())

    assert answer.status == 201
    assert answer.body == {
        "revision": there.revision,
        "outcome": "created",
        "mod_revision": there.revision,
        "generation": 1,
        "changes": [],
    }
    assert answer.headers["ETag"] == f'"{there.revision}"'
    assert answer.revision == there.revision
    row = await there.value(KEYS.workload(KEY))
    template = await there.value(KEYS.revision(KEY, 1))
    assert row is not None
    assert template is not None
    assert (row["generation"], row["spec"]["replicas"]) == (1, 3)
    assert template["containers"] == row["spec"]["containers"]
    events = (await replica.get(f"/v1/events?min_revision={answer.revision}")).body["items"]
    assert [(event["kind"], event["subject"], event["by"]) for event in events] == [
        ("WorkloadCreated", "default/web", "c1")
    ]


async def test_applying_the_same_again_moves_no_revision(there: World, replica: Replica) -> None:
    first = await replica.call("PUT", WEB, manifest())
    before = there.revision

    again = await replica.call("PUT", WEB, manifest())

    assert there.revision == before
    assert again.status == 200
    assert again.body["outcome"] == "unchanged"
    assert again.body["mod_revision"] == first.body["mod_revision"]
    assert again.body["changes"] == []


async def test_a_changed_template_makes_a_generation_and_other_changes_do_not(
    there: World, replica: Replica
) -> None:
    await replica.call("PUT", WEB, manifest())

    scaled = await replica.call("PUT", WEB, manifest(replicas=5))
    changed = await replica.call("PUT", WEB, manifest(replicas=5, stop_grace_seconds=3))

    assert scaled.body["changes"] == ["replicas: 3 -> 5"]
    assert scaled.body["generation"] == 1
    assert changed.body["outcome"] == "configured"
    assert changed.body["changes"] == ["stop_grace_seconds: 10.0 -> 3.0"]
    assert changed.body["generation"] == 2
    assert (await there.value(KEYS.revision(KEY, 1)) or {})["stop_grace_seconds"] == 10
    assert (await there.value(KEYS.revision(KEY, 2)) or {})["stop_grace_seconds"] == 3


async def test_a_workload_that_is_made_anew_goes_on_from_the_generations_of_its_earlier_life(
    there: World, replica: Replica
) -> None:
    await replica.call("PUT", WEB, manifest())
    await replica.call("PUT", WEB, manifest(stop_grace_seconds=3))
    await replica.call("DELETE", WEB)

    anew = await replica.call("PUT", WEB, manifest())

    assert (anew.status, anew.body["generation"]) == (201, 3)


async def test_a_row_whose_template_was_edited_by_hand_takes_effect_when_applied(
    there: World, replica: Replica
) -> None:
    await replica.call("PUT", WEB, manifest())
    row = await there.value(KEYS.workload(KEY))
    assert row is not None
    row["spec"]["stop_grace_seconds"] = 1
    revision = await there.put(KEYS.workload(KEY), json.dumps(row).encode())
    await replica.view.reached(revision)

    answer = await replica.call("PUT", WEB, manifest(stop_grace_seconds=1))

    assert answer.body["outcome"] == "configured"
    assert answer.body["generation"] == 2
    assert answer.body["changes"] == ["generation 2: it had not been made from this template"]
    assert (await replica.call("PUT", WEB, manifest(stop_grace_seconds=1))).body[
        "outcome"
    ] == "unchanged"


@pytest.mark.parametrize("is_seen_first", [True, False])
async def test_an_unreadable_row_is_written_anew(
    there: World, replica: Replica, is_seen_first: bool
) -> None:
    if is_seen_first:
        await replica.call("PUT", WEB, manifest())
    revision = await there.put(KEYS.workload(KEY), b'{"spec": 7}')
    await replica.view.reached(revision)

    answer = await replica.call("PUT", WEB, manifest())

    assert (answer.status, answer.body["outcome"]) == (200, "configured")
    assert answer.body["changes"] == ["the record could not be read, and is written anew"]
    shown = await replica.get(f"{WEB}?min_revision={answer.revision}")
    assert shown.body["spec"]["replicas"] == 3


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    there: World, replica: Replica
) -> None:
    before = there.revision
    new = await replica.call("PUT", f"{WEB}?dry_run=true", manifest())
    assert (new.status, new.body["outcome"], new.body["generation"]) == (200, "created", 1)
    assert there.revision == before

    await replica.call("PUT", WEB, manifest())
    before = there.revision
    changed = await replica.call("PUT", f"{WEB}?dry_run=true", manifest(replicas=4))
    deleted = await replica.call("DELETE", f"{WEB}?dry_run=true")
    assert changed.body["changes"] == ["replicas: 3 -> 4"]
    assert deleted.body["outcome"] == "deleted"
    assert there.revision == before


async def test_scaling_changes_only_the_replicas(there: World, replica: Replica) -> None:
    await replica.call("PUT", WEB, manifest())

    answer = await replica.call("PUT", f"{WEB}/scale", {"replicas": 5})

    assert answer.body["outcome"] == "configured"
    assert answer.body["changes"] == ["replicas: 3 -> 5"]
    row = await there.value(KEYS.workload(KEY))
    assert row is not None
    assert row["spec"]["replicas"] == 5
    before = there.revision
    again = await replica.call("PUT", f"{WEB}/scale", {"replicas": 5})
    assert (again.body["outcome"], there.revision) == ("unchanged", before)
    assert await event_kinds(replica) == ["WorkloadCreated", "WorkloadScaled"]


async def test_deleting_takes_away_the_wish_and_leaves_the_rest_to_the_leader(
    there: World, replica: Replica
) -> None:
    await replica.call("PUT", WEB, manifest())
    place = InstancePlace("n1", InstanceName("default", "web", 0, 1))
    await replica.view.reached(await there.assign(place))

    answer = await replica.call("DELETE", WEB)

    assert (answer.status, answer.body["outcome"]) == (200, "deleted")
    assert await there.value(KEYS.workload(KEY)) is None
    assert await there.value(KEYS.revision(KEY, 1)) is not None
    assert await there.value(KEYS.assignment(place)) is not None
    shown = await replica.get(f"{WEB}?min_revision={answer.revision}")
    assert shown.body["is_deleting"] is True
    again = await replica.call("DELETE", WEB)
    assert again.status == 404
    assert again.body["detail"] == (
        "workload default/web is deleted already; 1 of its instances have yet to be stopped"
    )


# Preconditions


async def test_if_match_writes_only_what_was_read(there: World, replica: Replica) -> None:
    created = await replica.call("PUT", WEB, manifest())
    etag = created.headers["ETag"]

    met = await replica.call("PUT", WEB, manifest(replicas=4), If_Match=etag)
    missed = await replica.call("PUT", WEB, manifest(replicas=9), If_Match=etag)

    assert met.status == 200
    assert missed.status == 412
    assert missed.body["type"] == "urn:orchestrator:problem:precondition-failed"
    assert missed.body["detail"] == (
        f"workload default/web was left alone: it is at mod_revision {met.revision}, "
        "which If-Match does not name; read it again"
    )
    for method, path, body in (
        ("PUT", f"{WEB}/scale", {"replicas": 1}),
        ("DELETE", WEB, None),
    ):
        assert (await replica.call(method, path, body, If_Match=etag)).status == 412
    bare = str(met.revision)
    assert (await replica.call("DELETE", WEB, If_Match=f"1, {bare}")).status == 200


async def test_if_none_match_only_creates(replica: Replica) -> None:
    created = await replica.call("PUT", WEB, manifest(), If_None_Match="*")
    again = await replica.call("PUT", WEB, manifest(), If_None_Match="*")
    assert (created.status, again.status) == (201, 412)
    assert "it exists already" in again.body["detail"]


async def test_if_match_star_only_changes_what_is_there(replica: Replica) -> None:
    answer = await replica.call("PUT", WEB, manifest(), If_Match="*")
    assert answer.status == 412
    assert answer.body["detail"] == "workload default/web was left alone: it does not exist"


@pytest.mark.parametrize(
    ("header", "value", "sentence"),
    [
        ("If_Match", "yesterday", "If-Match 'yesterday' is no mod_revision"),
        ("If_None_Match", '"7"', "of If-None-Match only `*` is known here"),
    ],
)
async def test_a_malformed_precondition_is_refused(
    replica: Replica, header: str, value: str, sentence: str
) -> None:
    answer = await replica.call("PUT", WEB, manifest(), **{header: value})
    assert answer.status == 400
    assert sentence in answer.body["detail"]


# Bad input


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        (WEB, b"{", 400, "the body is not JSON: "),
        (WEB, b"", 400, "the body is not JSON: "),
        (WEB, b"[" * 100_000, 400, "the body is not JSON: "),
        (WEB, b'{"replicas": NaN}', 400, "the body is not JSON: "),
        (WEB, [1], 400, ""),
        (WEB, manifest(replicsa=3), 400, "did you mean 'replicas'?"),
        (WEB, manifest(replicas=-1), 400, "replicas is -1"),
        (WEB, manifest(name="other"), 400, "the path says name 'web', but the manifest 'other'"),
        (WEB, manifest(namespace="x"), 400, "the path says namespace 'default', but"),
        ("/v1/workloads/default/W%20b", manifest(), 400, "name is 'W b'"),
        (f"{WEB}/scale", {"replicas": "5"}, 400, "field 'replicas' cannot be '5'"),
        (f"{WEB}/scale", {"replicas": True}, 400, "field 'replicas' cannot be True"),
        (f"{WEB}/scale", {"replicas": -1}, 400, "replicas is -1: it must be 0 to 100000"),
        (f"{WEB}/scale", {}, 400, "field 'replicas' is missing"),
        (f"{WEB}/scale", {"replica": 5, "replicas": 5}, 400, "did you mean 'replicas'?"),
        (f"{WEB}/scale", [], 400, "the body does not fit"),
        (f"{WEB}?dryrun=true", manifest(), 400, "'dryrun'; did you mean 'dry_run'?"),
        (f"{WEB}?dry_run=perhaps", manifest(), 400, "parameter 'dry_run' cannot be 'perhaps'"),
        (f"{WEB}/scale", {"replicas": 5}, 404, "there is no workload default/web"),
        ("/v1/workloads/a/b%2Fc/scale", {"replicas": 5}, 404, "that is no name for one"),
    ],
)
async def test_bad_input_is_told_in_a_sentence_and_changes_nothing(
    there: World, replica: Replica, path: str, body: Any, status: int, sentence: str
) -> None:
    before = there.revision
    answer = await replica.call("PUT", path, body)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert sentence in answer.body["detail"]
    assert "X-Revision" in answer.headers
    assert there.revision == before


async def test_every_problem_of_a_manifest_is_named(replica: Replica) -> None:
    answer = await replica.call("PUT", WEB, manifest(replicas=-1, lost_after_seconds=-2))
    assert answer.status == 400
    assert len(answer.body["problems"]) == 2
    assert all(isinstance(problem, str) for problem in answer.body["problems"])


async def test_a_manifest_of_two_megabytes_is_refused(replica: Replica) -> None:
    answer = await replica.call("PUT", WEB, b" " * 2 * 1024 * 1024)
    assert answer.status == 413
    assert "the body is larger than 1048576 bytes" in answer.body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nonsense", 404), ("POST", WEB, 405), ("PUT", "/v1/nodes", 405)],
)
async def test_unknown_routes_and_methods_are_problems_too(
    replica: Replica, method: str, path: str, status: int
) -> None:
    answer = await replica.call(method, path)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["detail"]


# Nodes


async def test_a_node_is_cordoned_labelled_and_uncordoned(there: World, replica: Replica) -> None:
    await replica.view.reached(await there.add_node("n1"))

    cordoned = await replica.call(
        "PATCH", "/v1/nodes/n1", {"availability": "cordoned", "labels": {"disk": "ssd", "x": "y"}}
    )
    assert cordoned.body["changes"] == [
        "availability: active -> cordoned",
        "labels.disk: none -> 'ssd'",
        "labels.x: none -> 'y'",
    ]
    shown = await replica.get(f"/v1/nodes/n1?min_revision={cordoned.revision}")
    assert shown.body["availability"] == "cordoned"
    assert shown.body["labels"] == {"disk": "ssd", "x": "y"}
    assert shown.headers["ETag"] == f'"{cordoned.revision}"'

    active = await replica.call(
        "PATCH", "/v1/nodes/n1", {"availability": "active", "labels": {"x": None}}
    )
    assert active.body["changes"] == ["availability: cordoned -> active", "labels.x: 'y' -> none"]
    before = there.revision
    again = await replica.call("PATCH", "/v1/nodes/n1", {"availability": "active"})
    assert (again.body["outcome"], there.revision) == ("unchanged", before)
    assert await event_kinds(replica) == ["NodeCordoned", "NodeUncordoned"]


async def test_a_node_is_declared_lost_only_while_it_has_no_session(
    there: World, replica: Replica
) -> None:
    await replica.view.reached(await there.add_node("n1"))

    alive = await replica.call("PATCH", "/v1/nodes/n1", {"is_declared_lost": True})
    assert alive.status == 409
    assert alive.body["detail"] == (
        "node n1 is alive, its agent holds a session: stop its agent first, "
        "or cordon the node instead"
    )

    await replica.view.reached(await there.drop(KEYS.session("n1")))
    lost = await replica.call("PATCH", "/v1/nodes/n1", {"is_declared_lost": True})
    assert lost.body["changes"] == ["declared lost"]
    assert (await there.value(KEYS.desired_node("n1")) or {})["is_declared_lost"] is True
    shown = await replica.get(f"/v1/nodes/n1?min_revision={lost.revision}")
    assert shown.body["status"] == "Down"
    assert await event_kinds(replica) == ["NodeDeclaredLost"]


async def test_a_session_that_begins_meanwhile_keeps_its_node_from_being_declared_lost(
    there: World,
) -> None:
    await there.add_node("n1")
    await there.drop(KEYS.session("n1"))
    async with there.replica() as replica:
        await replica.view.synced()
        there.cluster.treat(Meanness(watch_seconds=(0.2, 0.2)), "c1")
        await there.add_node("n1")
        answer = await replica.call("PATCH", "/v1/nodes/n1", {"is_declared_lost": True})
    assert answer.status == 409


async def test_a_dead_node_is_removed_and_a_live_one_is_not(there: World, replica: Replica) -> None:
    await there.put(KEYS.desired_node("n1"), DesiredNode())
    await replica.view.reached(await there.add_node("n1"))
    assert (await replica.call("DELETE", "/v1/nodes/n1")).status == 409

    await replica.view.reached(await there.drop(KEYS.session("n1")))
    removed = await replica.call("DELETE", "/v1/nodes/n1")

    assert (removed.status, removed.body["outcome"]) == (200, "deleted")
    assert await there.value(KEYS.desired_node("n1")) is None
    assert await there.value(KEYS.node_report("n1")) is None
    gone = await replica.call("DELETE", "/v1/nodes/n1")
    assert (gone.status, gone.body["detail"]) == (404, "there is no node n1")
    assert await event_kinds(replica) == ["NodeRemoved"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"availability": "draining"}, "field 'availability' cannot be 'draining'"),
        ({"availability": "draining"}, "'active' or 'cordoned'"),
        ({"is_declared_lost": "yes"}, "field 'is_declared_lost' cannot be 'yes'"),
        ({"label": {}}, "unknown field 'label'; did you mean 'labels'?"),
        ({"labels": {"a b": "c"}}, "its name must be"),
        ({"labels": {"a": 7}}, "field 'labels.a' cannot be 7"),
    ],
)
async def test_a_patch_that_makes_no_sense_is_refused(
    there: World, replica: Replica, body: Any, sentence: str
) -> None:
    await replica.view.reached(await there.add_node("n1"))
    before = there.revision
    answer = await replica.call("PATCH", "/v1/nodes/n1", body)
    assert answer.status == 400
    assert sentence in answer.body["detail"]
    assert there.revision == before
