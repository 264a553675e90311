"""`orc up`: check, start, show, and stop again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.cli.client import ApiClient
from orchestrator.cli.discovery import state_pointer
from orchestrator.local.cluster import LocalCluster
from orchestrator.local.data_dir import DataDir, Kept
from orchestrator.local.down import stop_orphans
from orchestrator.local.etcd import check_members, choose_etcd, installed_etcds
from orchestrator.local.ports import PortPlan
from orchestrator.local.programs import SOURCE, Layout
from orchestrator.local.record import listed, point_to, read_record
from orchestrator.local.screen import Screen
from orchestrator.model.errors import StateError
from orchestrator.model.manifest import parse_manifests
from orchestrator.process.shutdown import run_until

SAMPLE = "deploy/examples/web.yaml"


@dataclass(frozen=True, slots=True)
class UpOptions:
    data_dir: Path
    controllers: int
    agents: int
    is_ha: bool
    base_port: int
    with_sample: bool
    is_reset: bool
    etcd_endpoints: tuple[str, ...]


async def up(
    options: UpOptions,
    environ: Mapping[str, str],
    stop: asyncio.Event,
    *,
    on_start: Callable[[LocalCluster], None],
    on_ready: Callable[[], None] | None,
) -> None:
    """Run a local cluster until `stop` is set. With `on_ready` it is detached: that is called
    when all is up, and nothing is shown afterwards.

    Raises `ConfigError` and `StateError`, before anything is started whenever that is possible.
    """
    screen = Screen()
    data_dir = DataDir(options.data_dir)
    data_dir.create()
    with data_dir.locked():
        layout = await _prepared(options, data_dir, screen)
        point_to(data_dir, state_pointer(environ))
        cluster = LocalCluster(layout, screen.say)
        on_start(cluster)
        if layout.etcd:
            screen.say(layout.etcd.described)
        async with asyncio.TaskGroup() as tasks, _stopped_at_the_end(cluster):
            await run_until(stop, _start(options, layout, cluster, tasks, screen))
            if not stop.is_set():
                await _stay(layout, stop, screen, on_ready)
        screen.say(f"stopped; the data stays in {data_dir.path}, and `orc up` continues with it")


@asynccontextmanager
async def _stopped_at_the_end(cluster: LocalCluster) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await cluster.stop()


async def _prepared(options: UpOptions, data_dir: DataDir, screen: Screen) -> Layout:
    """Everything that can be refused is refused here, before any data is deleted."""
    left_over = record.running() if (record := read_record(data_dir)) else []
    if left_over:
        raise StateError(
            f"processes of an `orc up` that was killed still run on {data_dir.path}:"
            f" {listed(left_over)}. Stop them with `orc down`, then try again"
        )
    members = 0 if options.etcd_endpoints else 3 if options.is_ha else 1
    plan = PortPlan(options.base_port, options.controllers, options.agents, members)
    kept = Kept() if options.is_reset else data_dir.kept()
    etcd = choose_etcd(installed_etcds(), data_dir, kept) if members else None
    if etcd:
        check_members(data_dir, kept, plan)
    plan.check()
    if options.is_reset:
        await _reset(data_dir, screen)
    if etcd is None:
        return Layout(data_dir, plan, None, options.etcd_endpoints)
    data_dir.keep(
        replace(
            kept, etcd_version=etcd.minor_version, etcd_members=members, base_port=options.base_port
        )
    )
    endpoints = tuple(f"http://{plan.etcd_client(index)}" for index in range(members))
    return Layout(data_dir, plan, etcd, endpoints)


async def _reset(data_dir: DataDir, screen: Screen) -> None:
    """Once their agent's directory is deleted, nobody could find its instances any more."""
    if stopped := await stop_orphans(data_dir):
        screen.say(f"stopped {stopped} instances that had lost their agent")
    data_dir.reset()


async def _start(
    options: UpOptions,
    layout: Layout,
    cluster: LocalCluster,
    tasks: asyncio.TaskGroup,
    screen: Screen,
) -> None:
    await cluster.start(tasks)
    kept = layout.data_dir.kept()
    if options.with_sample and not kept.has_sample:
        await _apply_sample(layout, screen)
        layout.data_dir.keep(replace(kept, has_sample=True))
    screen.say(f"API       {'  '.join(layout.servers)}")
    metrics = "  ".join(f"{url}/metrics" for url in (*layout.servers, *layout.agents))
    screen.say(f"metrics   {metrics}")
    screen.say(f"logs      {layout.data_dir.path / 'logs'}")
    screen.say(f"try       orc get instances    orc status    orc scale web 5    ({_orc()})")


async def _apply_sample(layout: Layout, screen: Screen) -> None:
    """Once for each data directory: what the user makes of it later, stays."""
    path = SOURCE / SAMPLE
    if not path.is_file():
        screen.say(f"no sample workload: {path} is not there; apply your own: orc apply -f FILE")
        return
    async with ApiClient(layout.servers) as client:
        for definition in parse_manifests(path.read_text(), source=str(path)):
            await client.apply(definition)
            screen.say(f"applied   {SAMPLE}: workload {definition.key}")


async def _stay(
    layout: Layout, stop: asyncio.Event, screen: Screen, on_ready: Callable[[], None] | None
) -> None:
    if on_ready:
        screen.say("running in the background; stop it with `orc down`")
        on_ready()
        await stop.wait()
        return
    screen.say("Ctrl-C stops everything")
    async with ApiClient(layout.servers) as client:
        await run_until(stop, screen.follow(client))


def _orc() -> str:
    """How to call `orc` from another terminal."""
    beside = Path(sys.executable).with_name("orc")
    return os.path.relpath(beside) if beside.exists() else "orc"
