"""`Agent`: a node's long-running part. It adopts what runs, follows its assignments, reports.

Its tasks fail apart from each other: without the store nothing new is started, and what runs
goes on; without a session reports wait, and steps go on. It ends only by an error that a person
must see, or when asked to stop; instances outlive it unless it is told to take them along.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NoReturn

import structlog

from orchestrator.agent.assignments import Assignments, Templates
from orchestrator.agent.home import AgentHome
from orchestrator.agent.image_pins import PinStore
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.node_report import NodeProfile, node_report
from orchestrator.agent.ports import PortPicker
from orchestrator.agent.preparation import Preparation
from orchestrator.agent.reporter import Reporter
from orchestrator.agent.volume_rows import VolumeRows
from orchestrator.agent.workers import Workers
from orchestrator.cluster.reading import read_until_answered
from orchestrator.cluster.registration import Registration
from orchestrator.model.errors import NetworkError
from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeReport, NodeSession
from orchestrator.model.records import Schema, load
from orchestrator.model.resources import NodeResources
from orchestrator.process.shutdown import run_until
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.protocol import ContainerRuntime
from orchestrator.runtime.volumes.node_volumes import NodeVolumes
from store.errors import NoSpace, SessionLost, Unavailable
from store.lineage import PROBES
from store.mirror import Mirror
from store.patience import Clock, Patience
from store.protocol import PROGRESS_SECONDS, Store
from store.values import Header, RangeOp, RangeResult

log = structlog.get_logger()

LOOK_SECONDS = 10.0
"""The slow look, beside all wake-ups."""

FULL_STORE_RETRY_SECONDS = 2.0

PROBE_SECONDS = 0.5

LAG_SECONDS = 1.5 * PROGRESS_SECONDS

MAX_TOLD_IMAGES = 500

LEAVE_SECONDS = 3.0
"""How long a leaving agent tries to say so."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    node: str
    profile: NodeProfile
    hostname: str = ""
    pid: int = 0
    lease_ttl_seconds: int = 10
    accepts_store: bool = False
    stops_instances_on_exit: bool = False


class Agent:
    def __init__(
        self,
        store: Store,
        keys: Keys,
        runtime: ContainerRuntime,
        home: AgentHome,
        *,
        images: NodeImages | None,
        volumes: NodeVolumes,
        ports: PortPicker,
        metrics: AgentMetrics,
        settings: AgentSettings,
        clock: Clock,
        rng: random.Random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = keys
        self._runtime = runtime
        self._images = images
        self._home = home
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._wake = asyncio.Event()
        self._report = NodeReport("", NodeResources(), NodeResources())
        self._registration: Registration | None = None
        self._noted_at = clock()
        node = settings.node
        self._reporter = Reporter(store, keys, node, clock=clock, patience=self._patience, rng=rng)
        self._assignments = Assignments(
            store, keys, node, clock=clock, rng=rng, wake=self._wake.set
        )
        self.volume_rows = VolumeRows(node, keys, self._reporter, volumes, now=now)
        pins = PinStore(
            store, keys, fence=lambda: self._reporter.fence, patience=self._patience, rng=rng
        )
        self._workers = Workers(
            node,
            runtime,
            assignments=self._assignments,
            templates=Templates(store, keys),
            preparation=Preparation(node, images, pins, self.volume_rows),
            reporter=self._reporter,
            ports=ports,
            metrics=metrics,
            wake=self._wake.set,
        )

    @property
    def mirror(self) -> Mirror:
        """What it knows of its assignments."""
        return self._assignments.mirror

    @property
    def is_registered(self) -> bool:
        """Whether its session is surely alive."""
        return self._registration is not None and self._registration.session.is_trusted()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises `ClusterError` for a name in use or a foreign store, and
        `StoreReplaced` when the store under it is another one; instances run on in any case."""
        self._report = node_report(
            self._settings.profile, await self._runtime.init_node(), self._home.path
        )
        self._runtime.on_change(self._wake.set)
        try:
            await run_until(stop, self._check_store())
            if not stop.is_set():
                await self._work(stop)
        finally:
            await self._workers.close()
            await self._runtime.close()

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._assignments.run()),
                tasks.create_task(self._hold_sessions()),
                tasks.create_task(self._reporter.run()),
                tasks.create_task(self._follow()),
            ]
            tending = tasks.create_task(self._images.tend()) if self._images else None
            await stop.wait()
            if tending:
                tending.cancel()
            await self._leave(work)

    async def _check_store(self) -> None:
        """Before anything is obeyed: is this the store that our instances were assigned by?"""
        header = await self._newest_header()
        await self._home.check_store(
            header.cluster_id,
            header.revision,
            await self._store_id(),
            accept=self._settings.accepts_store,
        )
        async for attempt in self._endless_patience().retrying(Unavailable):
            with attempt:
                await self._reporter.load()
        self.volume_rows.match()

    async def _newest_header(self) -> Header:
        """A read may come from the past for a moment (etcd #20418): one answer convicts nobody."""
        question = RangeOp(self._keys.assignments(self._settings.node), keys_only=True)
        header = Header(0, 0, 0, 0)
        for _ in range(PROBES):
            header = (await self._read(question)).header
            if header.revision >= self._home.identity.revision:
                break
            await asyncio.sleep(PROBE_SECONDS)
        return header

    async def _store_id(self) -> str:
        """Empty as long as no leader has ever been there."""
        kvs = (await self._read(RangeOp(self._keys.schema))).kvs
        schema = load(self._keys.parse(self._keys.schema), kvs[0].value) if kvs else Schema()
        assert isinstance(schema, Schema)
        return schema.store_id

    async def _read(self, question: RangeOp) -> RangeResult:
        return await read_until_answered(self._store, question, self._endless_patience())

    async def _hold_sessions(self) -> NoReturn:
        """One session after the other, for ever; the reporter writes only under a live one."""
        while True:
            try:
                await self._hold_session()
            except SessionLost as lost:
                log.warning("the session is lost; registering again", problem=str(lost))
            except NoSpace as full:
                log.warning("the store is full; registering when it has room", problem=str(full))
                await asyncio.sleep(FULL_STORE_RETRY_SECONDS)

    async def _hold_session(self) -> NoReturn:
        self._registration = registration = self._new_registration()
        fence = await registration.register(self._endless_patience())
        is_lost = asyncio.Event()
        self._reporter.set_fence(fence, on_lost=is_lost.set)
        self._reporter.report_node(self._report)
        self._metrics.has_session.set(1)
        log.info("registered", epoch=fence.create_revision)
        try:
            await run_until(is_lost, registration.session.keep_alive())
            raise SessionLost("its row in the store is gone, or another's")
        finally:
            self._metrics.has_session.set(0)
            self._reporter.set_fence(None)

    def _new_registration(self) -> Registration:
        settings = self._settings
        identity = NodeSession(self._home.identity.agent_id, settings.pid, settings.hostname)
        return Registration(
            self._store,
            self._keys,
            settings.node,
            identity,
            ttl_seconds=settings.lease_ttl_seconds,
            clock=self._clock,
            rng=self._rng,
        )

    async def _follow(self) -> NoReturn:
        """Look, again and again; but obey nothing before all assignments are known."""
        await self._assignments.mirror.synced()
        await self._see_all_that_was_seen()
        while True:
            self._wake.clear()
            if self._assignments.by_name and not self._home.identity.store_id:
                await self._home.note_store(await self._store_id())
            await self._workers.look()
            await self._tell_images()
            await self._note_progress()
            await self._woken()

    async def _see_all_that_was_seen(self) -> None:
        """A list from the past would start what was stopped since, and stop what was started."""
        revision = self._home.identity.revision
        try:
            async with asyncio.timeout(LAG_SECONDS):
                await self._assignments.mirror.reached(revision)
        except TimeoutError:
            raise NetworkError(
                f"the store does not show its revision {revision}, which this node has seen: a"
                " member of it lags; start the agent again"
            ) from None

    async def _tell_images(self) -> None:
        """So that the scheduler may prefer the nodes that need not pull."""
        if self._images is None:
            return
        names = {name for image in await self._images.list() for name in image.names}
        self._report = replace(self._report, images=tuple(sorted(names)[:MAX_TOLD_IMAGES]))
        self._reporter.report_node(self._report)

    async def _note_progress(self) -> None:
        """Now and then, for it is flushed to disk: a store behind this one will be refused."""
        if self._clock() >= self._noted_at + LOOK_SECONDS:
            self._noted_at = self._clock()
            await self._home.note_revision(self._assignments.mirror.revision)

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _leave(self, work: Sequence[asyncio.Task[None]]) -> None:
        """Say what there is to say, and give the session back, while the store still listens."""
        watching, holding, reporting, following = work
        following.cancel()
        if self._settings.stops_instances_on_exit:
            # first of all, or what is stopped now might be replaced on this very node
            self._report = replace(self._report, problem="the node is being shut down")
            self._reporter.report_node(self._report)
            await self._workers.shut_down()
        await self._workers.close()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._reporter.flushed()
        except TimeoutError:
            log.warning("leaving with reports unwritten; the next start writes them")
        for task in (watching, holding, reporting):
            task.cancel()
        if self._registration is not None:
            await self._registration.session.close()

    def _patience(self) -> Patience:
        return Patience(self._clock, self._rng, limit_seconds=5.0)

    def _endless_patience(self) -> Patience:
        return Patience(self._clock, self._rng, inf)
