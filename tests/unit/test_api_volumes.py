"""Volumes over HTTP and in `orc`: from the rows in the store to the directories on a node."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.agent.reporter import Reporter
from orchestrator.agent.volume_routes import volume_routes
from orchestrator.agent.volume_rows import VolumeRows
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace, VolumePlace
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.runtime.volumes.local import FirstUse
from store.patience import Patience
from store.transactions import SessionFence
from store.values import RangeOp
from tests.support.api import KEYS, World
from tests.support.orc import Orc
from tests.support.ports import free_port
from tests.support.served_api import Held, ServedApi
from tests.support.volumes import LOCAL, Node, spec_with

USED, UNUSED = "default.web.0.db", "default.web.1.db"


@asynccontextmanager
async def node_with_volumes(there: World, root: Path) -> AsyncIterator[None]:
    """Node n1, whose agent has two volumes: the first is in use on the node."""
    volumes = Node(root).begin()
    owner = FirstUse(os.getuid(), os.getgid())
    specs = [spec_with(LOCAL, instance=f"default.web.{slot}.1") for slot in (0, 1)]
    for spec in specs:
        await volumes.mounts(spec, owner)
    (root / "local" / USED / "file").write_bytes(bytes(2_000_000))
    await volumes.release(specs[1].id)
    settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
    await there.add_node("n1", settings.url)
    rng = random.Random(1)
    reporter = Reporter(
        there.cluster.connect("n1"),
        KEYS,
        "n1",
        clock=time.monotonic,
        patience=lambda: Patience(time.monotonic, rng, limit_seconds=5.0),
        rng=rng,
    )
    rows = VolumeRows("n1", KEYS, reporter, volumes, now=time.time)
    rows.match()
    session = (await there.store.range(RangeOp(KEYS.session("n1")))).kvs[0]
    reporter.set_fence(SessionFence(session.key, session.create_revision))
    app = new_app(settings, new_registry("agent"), Health())
    app.add_routes(volume_routes(rows))
    task = asyncio.create_task(reporter.run())
    async with serving(app, settings):
        await reporter.flushed()
        yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ServedApi]:
    with ServedApi() as served:
        held = Held()
        served.run(held.open(node_with_volumes(served.world, tmp_path)))
        yield served
        served.run(held.close())


@pytest.fixture
def orc(api: ServedApi) -> Orc:
    return Orc(api.servers)


def rows_of(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def test_volumes_are_listed_with_their_nodes(api: ServedApi, orc: Orc) -> None:
    head, *rows = rows_of(orc.succeeds("volume", "ls"))
    assert head == ["NAME", "NODE", "SIZE", "AGE", "USED-BY", "NOTE"]
    assert [row[:3] for row in rows] == [[USED, "n1", "-"], [UNUSED, "n1", "-"]]
    place = InstancePlace("n1", InstanceName("default", "web", 0, 1))
    api.run(api.world.assign(place))
    assert [row[4] for row in rows_of(orc.succeeds("volume", "ls"))[1:]] == ["default.web.0.1", "-"]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--workload", "web"), 2),
        (("--workload", "other/web"), 0),
        (("-n", "other"), 0),
        (("-A",), 2),
        (("--node", "n2"), 0),
    ],
)
def test_some_of_them_can_be_chosen(orc: Orc, arguments: tuple[str, ...], count: int) -> None:
    found = json.loads(orc.succeeds("volume", "ls", "-o", "json", *arguments))
    assert len(found["items"]) == count


def test_agents_measure_them_when_asked_to(api: ServedApi, orc: Orc) -> None:
    gone = VolumePlace("n2", VolumeName("default", "web", 2, "db"))
    api.put(KEYS.volume(gone), NodeVolume(created_at=1.0))
    _, used, unused, unknown = orc.succeeds("volume", "ls", "--sizes").splitlines()
    assert used.split()[2] == "2.0MB"
    assert unused.split()[2] == "0.0MB"
    assert unknown.split()[2] == "-"
    assert "node n2 has not said where its agent is" in unknown


def test_a_volume_is_deleted_once_that_is_meant(orc: Orc, tmp_path: Path) -> None:
    refused = orc("volume", "rm", UNUSED)
    assert refused.exit_code == 2
    assert f"the data of {UNUSED} on n1 would be lost: if they may be, say --yes" in refused.output
    told = orc.succeeds("volume", "rm", UNUSED, "--yes")
    assert told.endswith(f"volume {UNUSED} on n1 deleted\n")
    assert not (tmp_path / "local" / UNUSED).exists()
    assert UNUSED not in orc.succeeds("volume", "ls")


def test_what_is_in_use_is_not_deleted(api: ServedApi, orc: Orc, tmp_path: Path) -> None:
    refused = orc("volume", "rm", USED, "--yes")
    assert (refused.exit_code, refused.output) == (
        1,
        f"error: volume {USED} is in use by default.web.0.1: stop that first, or delete its"
        " workload\n",
    )
    api.run(api.world.assign(InstancePlace("n1", InstanceName("default", "web", 1, 4))))
    assigned = orc("volume", "rm", UNUSED, "--yes")
    assert assigned.exit_code == 1
    assert "is in use by default.web.1.4: delete or scale down its workload" in assigned.output
    assert (tmp_path / "local" / UNUSED).exists()


def test_what_is_not_there_is_told_with_what_is(api: ServedApi, orc: Orc) -> None:
    missing = orc("volume", "rm", "default.web.0.bd", "--yes")
    assert (missing.exit_code, missing.output) == (
        4,
        f"error: there is no volume default.web.0.bd; did you mean {USED!r}?\n",
    )
    twice = VolumePlace("n2", VolumeName("default", "web", 1, "db"))
    api.put(KEYS.volume(twice), NodeVolume(created_at=1.0))
    several = orc("volume", "rm", UNUSED, "--yes")
    assert several.exit_code == 2
    assert f"volume {UNUSED} is on n1, n2: say which one with --node" in several.output
    assert orc.succeeds("volume", "rm", UNUSED, "--yes", "--node", "n1")
