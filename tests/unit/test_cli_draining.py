"""`orc drain --wait`: until a node is empty; and who stays there, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.cli.client import ApiClient
from orchestrator.cli.errors import Refused, WaitTimeout
from orchestrator.cli.waiting import Wait, gap_to_empty
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Availability
from orchestrator.model.workload import WorkloadStatus
from tests.support.api import KEYS, World, world


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def test_a_drain_is_over_when_nothing_is_left_and_fails_when_it_is_ended(
    there: World,
) -> None:
    place = InstancePlace("n1", InstanceName("default", "web", 0, 1))
    async with there.replica() as replica, ApiClient([replica.api.address]) as client:
        await there.add_node("n1")
        await there.assign(place)
        await replica.view.reached(there.revision)
        await client.set_availability("n1", Availability.DRAINING)
        said: asyncio.Queue[str] = asyncio.Queue()
        waiting = asyncio.create_task(Wait(client, 60.0, said.put_nowait).until_empty("n1"))
        assert await said.get() == "node n1: instances left: 1"
        with pytest.raises(WaitTimeout, match="node n1: instances left: 1, after"):
            await Wait(client, 0.3, lambda _: None).until_empty("n1")
        await there.drop(KEYS.assignment(place))
        await waiting

        await there.assign(place)
        waiting = asyncio.create_task(Wait(client, 60.0, said.put_nowait).until_empty("n1"))
        assert await said.get() == "node n1: instances left: 1"
        await client.set_availability("n1", Availability.ACTIVE)
        with pytest.raises(Refused, match="node n1 is active again: its drain was ended"):
            await waiting


@pytest.mark.slow
async def test_a_drain_tells_who_stays_and_why(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.waiting.LOOK_SECONDS", 0.01)
    place = InstancePlace("n1", InstanceName("default", "web", 0, 1))
    stays = "default.web.0.1 stays, as its volume default.web.0.data is on n1"
    status = WorkloadStatus(1, waiting=("default.web.1.1 waits", stays))
    async with there.replica() as replica, ApiClient([replica.api.address]) as client:
        await there.add_node("n1")
        await there.assign(place)
        await there.put(KEYS.workload_status(place.instance.workload_key), status)
        await replica.view.reached(there.revision)
        await client.set_availability("n1", Availability.DRAINING)
        said: asyncio.Queue[str] = asyncio.Queue()
        waiting = asyncio.create_task(Wait(client, 60.0, said.put_nowait).until_empty("n1"))
        told = {await said.get() for _ in range(2)}
        assert told == {"node n1: instances left: 1", f"node n1: {stays}"}
        await there.drop(KEYS.assignment(place))
        await waiting
        await there.assign(place)
        with pytest.raises(WaitTimeout, match=f"instances left: 1, after .*; {stays}"):
            await Wait(client, 1.0, lambda _: None).until_empty("n1")


def test_a_node_that_is_forgotten_is_empty() -> None:
    assert gap_to_empty(None) == ""
