"""Writes over HTTP: what they put into the store, what they answer, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.model.image import ImagePins
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey
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


async def event_kinds(there: World, replica: Replica) -> list[str]:
    answer = await replica.get(f"/v1/events?min_revision={there.revision}")
    return [event["kind"] for event in answer.body["items"]]


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


async def test_no_generation_is_given_twice_while_images_are_pinned_for_it(
    there: World, replica: Replica
) -> None:

    await replica.view.reached(await there.put(KEYS.image_pins(KEY, 4), ImagePins()))

    made = await replica.call("PUT", WEB, manifest())

    assert (made.status, made.body["generation"]) == (201, 5)


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


async def test_a_template_that_was_damaged_is_made_anew(there: World, replica: Replica) -> None:
    await replica.call("PUT", WEB, manifest())
    await replica.view.reached(await there.put(KEYS.revision(KEY, 1), b"nonsense"))
    answer = await replica.call("PUT", WEB, manifest())
    assert (answer.body["outcome"], answer.body["generation"]) == ("configured", 2)


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
    assert await event_kinds(there, replica) == ["WorkloadCreated", "WorkloadScaled"]


async def test_a_gang_is_not_scaled_beyond_what_one_transaction_places(
    there: World, replica: Replica
) -> None:
    await replica.call("PUT", WEB, manifest(gang=True))
    before = there.revision
    answer = await replica.call("PUT", f"{WEB}/scale", {"replicas": 51})
    assert (answer.status, answer.body["detail"]) == (
        400,
        "replicas is 51: a gang has at most 50, which are placed all at once",
    )
    assert there.revision == before
    assert (await replica.call("PUT", f"{WEB}/scale", {"replicas": 50})).status == 200


async def test_constraints_are_of_the_template_and_priority_is_not(
    there: World, replica: Replica
) -> None:
    await replica.call("PUT", WEB, manifest())
    placed = {"nodes": [{"key": "zone", "values": ["a"]}], "strategy": "pack"}
    answer = await replica.call("PUT", WEB, manifest(placement=placed))
    assert answer.body["generation"] == 2
    assert answer.body["changes"][0] == 'placement.strategy: null -> "pack"'
    urgent = manifest(placement=placed, priority="high", min_available=1)
    answer = await replica.call("PUT", WEB, urgent)
    assert (answer.body["generation"], answer.body["changes"]) == (
        2,
        ['priority: "normal" -> "high"', "min_available: null -> 1"],
    )
    contrary = {"nodes": [*placed["nodes"], {"key": "zone", "values": ["b"]}]}
    refused = await replica.call("PUT", WEB, manifest(placement=contrary))
    told = "placement.nodes is 'zone=a, zone=b': no node can meet all of that"
    assert (refused.status, refused.body["problems"]) == (400, [told])


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
