"""What people may say of nodes over HTTP, and when they may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.model.keys import VolumePlace
from orchestrator.model.node import DesiredNode
from orchestrator.model.placement import Taint
from orchestrator.model.volume import NodeVolume, VolumeName
from store.memory.meanness import Meanness
from tests.support.api import KEYS, Replica, World, world


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
    assert await event_kinds(there, replica) == ["NodeCordoned", "NodeUncordoned"]


async def test_a_node_is_drained_until_it_is_uncordoned(there: World, replica: Replica) -> None:
    await replica.view.reached(await there.add_node("n1"))
    draining = await replica.call("PATCH", "/v1/nodes/n1", {"availability": "draining"})
    assert draining.body["changes"] == ["availability: active -> draining"]
    await replica.call("PATCH", "/v1/nodes/n1", {"availability": "active"})
    assert await event_kinds(there, replica) == ["NodeDraining", "NodeUncordoned"]


async def test_a_node_is_tainted_and_untainted(there: World, replica: Replica) -> None:
    await replica.view.reached(await there.add_node("n1"))
    gpu = {"key": "gpu", "value": "T4", "effect": "NoExecute"}

    added = await replica.call("PATCH", "/v1/nodes/n1", {"taints": [{"key": "gpu"}, gpu]})
    assert added.body["changes"] == ["taints: +gpu:NoSchedule", "taints: +gpu=T4:NoExecute"]
    shown = await replica.get(f"/v1/nodes/n1?min_revision={added.revision}")
    assert shown.body["taints"] == [{"key": "gpu", "value": "", "effect": "NoSchedule"}, gpu]

    changed = await replica.call(
        "PATCH", "/v1/nodes/n1", {"taints": [{**gpu, "value": "A10"}], "labels": {"a": "b"}}
    )
    assert changed.body["changes"] == [
        "labels.a: none -> 'b'",
        "taints: -gpu=T4:NoExecute",
        "taints: +gpu=A10:NoExecute",
    ]
    cordoned = await replica.call("PATCH", "/v1/nodes/n1", {"availability": "cordoned"})
    assert cordoned.body["changes"] == ["availability: active -> cordoned"]

    one = await replica.call("PATCH", "/v1/nodes/n1", {"remove_taints": ["gpu:NoSchedule"]})
    assert one.body["changes"] == ["taints: -gpu:NoSchedule"]
    rest = await replica.call("PATCH", "/v1/nodes/n1", {"remove_taints": ["gpu"]})
    assert rest.body["changes"] == ["taints: -gpu=A10:NoExecute"]
    none = await replica.call("PATCH", "/v1/nodes/n1", {"remove_taints": ["gpu"]})
    assert none.body["outcome"] == "unchanged"
    assert set(await event_kinds(there, replica)) == {"NodeConfigured", "NodeCordoned"}


async def test_a_taint_that_is_taken_away_and_given_anew_stays(
    there: World, replica: Replica
) -> None:
    await replica.view.reached(await there.add_node("n1"))
    patch = {"taints": [{"key": "gpu"}], "remove_taints": ["gpu"]}
    assert (await replica.call("PATCH", "/v1/nodes/n1", patch)).body["outcome"] == "configured"
    assert (await replica.call("PATCH", "/v1/nodes/n1", patch)).body["outcome"] == "unchanged"


async def test_a_node_may_have_so_many_taints_and_no_more(there: World, replica: Replica) -> None:
    many = tuple(Taint(f"k{number}") for number in range(50))
    await there.put(KEYS.desired_node("n1"), DesiredNode(taints=many))
    await replica.view.reached(await there.add_node("n1"))
    one_more = await replica.call("PATCH", "/v1/nodes/n1", {"taints": [{"key": "gpu"}]})
    assert (one_more.status, one_more.body["detail"]) == (
        400,
        "taints is a list of 51: it may have at most 50 items",
    )


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
    assert await event_kinds(there, replica) == ["NodeDeclaredLost"]


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


async def declared_lost_back_and_away(there: World) -> None:
    """A node that was declared lost, came back, and is unreachable once more."""
    await there.add_node("n1")
    await there.drop(KEYS.session("n1"))
    await there.put(KEYS.desired_node("n1"), DesiredNode(is_declared_lost=True))
    await there.add_node("n1")
    await there.drop(KEYS.session("n1"))


@pytest.mark.parametrize(
    "patch", [{"availability": "cordoned"}, {"labels": {"disk": "ssd"}}, {"is_declared_lost": None}]
)
async def test_a_patch_does_not_revive_the_word_that_an_earlier_life_was_lost(
    there: World, replica: Replica, patch: Any
) -> None:
    await declared_lost_back_and_away(there)
    await replica.view.reached(there.revision)
    patched = await replica.call("PATCH", "/v1/nodes/n1", patch)
    told = "no longer declared lost: its agent has come back since"
    assert told in patched.body["changes"]
    assert (await there.value(KEYS.desired_node("n1")) or {}).get(
        "is_declared_lost", False
    ) is False
    shown = await replica.get(f"/v1/nodes/n1?min_revision={patched.revision}")
    assert shown.body["is_declared_lost"] is False
    assert "NodeDeclaredLost" not in await event_kinds(there, replica)


async def test_a_node_that_came_back_can_be_declared_lost_anew(
    there: World, replica: Replica
) -> None:
    await declared_lost_back_and_away(there)
    await replica.view.reached(there.revision)
    lost = await replica.call("PATCH", "/v1/nodes/n1", {"is_declared_lost": True})
    assert lost.body["changes"] == ["declared lost"]
    shown = await replica.get(f"/v1/nodes/n1?min_revision={lost.revision}")
    assert shown.body["is_declared_lost"] is True
    assert await event_kinds(there, replica) == ["NodeDeclaredLost"]


async def test_a_word_that_still_holds_outlasts_a_patch_that_does_not_speak_of_it(
    there: World, replica: Replica
) -> None:
    await there.add_node("n1")
    await replica.view.reached(await there.drop(KEYS.session("n1")))
    await replica.call("PATCH", "/v1/nodes/n1", {"is_declared_lost": True})
    patched = await replica.call("PATCH", "/v1/nodes/n1", {"availability": "cordoned"})
    assert patched.body["changes"] == ["availability: active -> cordoned"]
    shown = await replica.get(f"/v1/nodes/n1?min_revision={patched.revision}")
    assert shown.body["is_declared_lost"] is True


async def test_a_life_that_the_mirror_has_not_seen_ends_the_word_as_well(there: World) -> None:
    await there.add_node("n1")
    await there.drop(KEYS.session("n1"))
    await there.put(KEYS.desired_node("n1"), DesiredNode(is_declared_lost=True))
    async with there.replica() as replica:
        await replica.view.synced()
        there.cluster.treat(Meanness(watch_seconds=(0.2, 0.2)), "c1")
        await there.add_node("n1")
        await there.drop(KEYS.session("n1"))
        patched = await replica.call("PATCH", "/v1/nodes/n1", {"availability": "cordoned"})
        shown = await replica.get(f"/v1/nodes/n1?min_revision={patched.revision}")
    assert shown.body["availability"] == "cordoned"
    assert shown.body["is_declared_lost"] is False


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
    told = "there is no node n1: `orc get nodes` lists them"
    assert (gone.status, gone.body["detail"]) == (404, told)
    assert await event_kinds(there, replica) == ["NodeRemoved"]


async def test_the_data_of_a_removed_node_are_forgotten_with_it(
    there: World, replica: Replica
) -> None:
    for node in ("n1", "n2"):
        await there.add_node(node)
        place = VolumePlace(node, VolumeName("default", "db", 0, "data"))
        await there.put(KEYS.volume(place), NodeVolume(0.0))
    await replica.view.reached(await there.drop(KEYS.session("n1")))
    removed = await replica.call("DELETE", "/v1/nodes/n1")
    await replica.view.reached(removed.revision)
    assert [place.node for place in replica.view.state.volumes] == ["n2"]
    events = await replica.get("/v1/events")
    assert events.body["items"][-1]["reason"] == (
        "removed by request, with 0 instances and the data of 1 volumes on it"
    )


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_a_name_that_is_nearly_that_of_a_node_is_told(
    there: World, replica: Replica, method: str
) -> None:
    await replica.view.reached(await there.add_node("node-1"))
    body = {"availability": "active"} if method == "PATCH" else None
    answer = await replica.call(method, "/v1/nodes/nodes1", body)
    told = "there is no node nodes1; did you mean 'node-1'?"
    assert (answer.status, answer.body["detail"]) == (404, told)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"availability": "down"}, "field 'availability' cannot be 'down'"),
        ({"availability": "down"}, "'active', 'cordoned' or 'draining'"),
        ({"is_declared_lost": "yes"}, "field 'is_declared_lost' cannot be 'yes'"),
        ({"label": {}}, "unknown field 'label'; did you mean 'labels'?"),
        ({"labels": {"a b": "c"}}, "its name must be"),
        ({"labels": {"a": 7}}, "field 'labels.a' cannot be 7"),
        ({"taints": [{"value": "x"}]}, "field 'taints.0.key' is missing"),
        ({"taints": [{"key": "a", "efect": "x"}]}, "unknown field 'taints.0.efect': leave it out"),
        ({"taints": [{"key": "a", "effect": "No"}]}, "field 'taints.0.effect' cannot be 'No'"),
        ({"taints": [{"key": "a b"}]}, "taints[0].key is 'a b': it must be 1 to 63 letters"),
        ({"taints": [{"key": "a", "value": "-"}]}, "taints[0].value is '-': it must be empty or"),
        ({"taints": [{"key": "a"}] * 2}, "taints[1] is 'a:NoSchedule': taints[0] has it already"),
        (
            {"taints": [{"key": f"k{number}"} for number in range(51)]},
            "taints is a list of 51: it may have at most 50 items",
        ),
        (
            {"remove_taints": ["a:b"]},
            "remove_taints[0] is 'a:b': it must be KEY or KEY:EFFECT, with 'NoSchedule' or"
            " 'PreferNoSchedule' or 'NoExecute'",
        ),
        ({"remove_taints": [""]}, "remove_taints[0] is '': it must be KEY or KEY:EFFECT"),
        (
            {"remove_taints": ["a"] * 51},
            "remove_taints is a list of 51: it may have at most 50 items",
        ),
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
