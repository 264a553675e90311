"""`Agent`: a node's long-running part. It adopts what runs, follows its assignments, reports.

Its tasks fail apart from each other: without the store nothing new is started, and what runs
goes on; without a session reports wait, and steps go on. It ends only by an error that a person
must see, or when asked to stop; instances outlive it unless it is told to take them along.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NoReturn

import structlog

from orchestrator.agent.assignments import Assignments, Templates
from orchestrator.agent.home import AgentHome
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.node_report import NodeProfile, node_report
from orchestrator.agent.ports import PortPicker
from orchestrator.agent.reporter import Reporter
from orchestrator.agent.workers import Workers
from orchestrator.cluster.registration import Registration
from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeReport, NodeSession
from orchestrator.runtime.protocol import ContainerRuntime
from store.errors import OutcomeUnknown, SessionLost, Unavailable
from store.mirror import Mirror
from store.patience import Clock, Patience
from store.protocol import Store
from store.values import RangeOp

log = structlog.get_logger()

LOOK_SECONDS = 10.0
"""The slow look, beside all wake-ups."""

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
        ports: PortPicker,
        metrics: AgentMetrics,
        settings: AgentSettings,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._store = store
        self._keys = keys
        self._runtime = runtime
        self._home = home
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._wake = asyncio.Event()
        self._registration: Registration | None = None
        self._noted_at = clock()
        node = settings.node
        self._reporter = Reporter(store, keys, node, patience=self._patience, rng=rng)
        self._assignments = Assignments(
            store, keys, node, clock=clock, rng=rng, wake=self._wake.set
        )
        self._workers = Workers(
            node,
            runtime,
            assignments=self._assignments,
            templates=Templates(store, keys),
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
        report = node_report(
            self._settings.profile, await self._runtime.init_node(), self._home.path
        )
        self._runtime.on_change(self._wake.set)
        await self._check_store()
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._assignments.run()),
                tasks.create_task(self._hold_sessions(report)),
                tasks.create_task(self._reporter.run()),
                tasks.create_task(self._follow()),
            ]
            await stop.wait()
            await self._leave(work, report)
        await self._runtime.close()

    async def _check_store(self) -> None:
        """Before anything is obeyed: is this the store that our instances were assigned by?"""
        prefix = self._keys.assignments(self._settings.node)
        patience = Patience(self._clock, self._rng, inf)
        async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
            with attempt:
                header = (await self._store.range(RangeOp(prefix, keys_only=True))).header
                await self._reporter.load()
        self._home.check_store(
            header.cluster_id, header.revision, accept=self._settings.accepts_store
        )

    async def _hold_sessions(self, report: NodeReport) -> NoReturn:
        """One session after the other, for ever; the reporter writes only under a live one."""
        while True:
            self._registration = registration = self._new_registration()
            try:
                fence = await registration.register(Patience(self._clock, self._rng, inf))
                self._reporter.set_fence(fence)
                self._reporter.report_node(report)
                self._metrics.has_session.set(1)
                log.info("registered", epoch=fence.create_revision)
                await registration.session.keep_alive()
            except SessionLost as lost:
                log.warning("the session is lost; registering again", problem=str(lost))
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
        while True:
            self._wake.clear()
            await self._workers.look()
            self._note_progress()
            await self._woken()

    def _note_progress(self) -> None:
        """Now and then, for it is flushed to disk: a store behind this one will be refused."""
        if self._clock() >= self._noted_at + LOOK_SECONDS:
            self._noted_at = self._clock()
            self._home.note_revision(self._assignments.mirror.revision)

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _leave(self, work: Sequence[asyncio.Task[None]], report: NodeReport) -> None:
        """Say what there is to say, and give the session back, while the store still listens."""
        watching, holding, reporting, following = work
        following.cancel()
        if self._settings.stops_instances_on_exit:
            # first of all, or what is stopped now might be replaced on this very node
            self._reporter.report_node(replace(report, problem="the node is being shut down"))
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
