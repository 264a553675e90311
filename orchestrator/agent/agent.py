"""`Agent`: a node's long-running part. It adopts what runs, follows its assignments, reports.

Its tasks fail apart from each other: without the store nothing new is started, and what runs
goes on; without a session reports wait, and steps go on. It ends only by an error that a person
must see, or when asked to stop; instances outlive it unless it is told to take them along.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NoReturn

import structlog

from orchestrator.agent.admission import Admission, Admit, vouched_for
from orchestrator.agent.assignments import Assignments, Templates
from orchestrator.agent.contact import Contact, Standing
from orchestrator.agent.fencing import Fencing
from orchestrator.agent.home import AgentHome
from orchestrator.agent.image_pins import PinStore
from orchestrator.agent.local_care import LocalCare
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.node_report import NodeProfile, Survey, node_report
from orchestrator.agent.ports import PortPicker
from orchestrator.agent.preparation import Preparation
from orchestrator.agent.reporter import Reporter
from orchestrator.agent.residents import Residents, remembered
from orchestrator.agent.volume_rows import VolumeRows
from orchestrator.agent.workers import Workers
from orchestrator.cluster.registration import Registration
from orchestrator.model.errors import NetworkError
from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeReport, NodeSession
from orchestrator.model.resources import NodeResources
from orchestrator.process.shutdown import run_until
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.protocol import ContainerRuntime
from orchestrator.runtime.volumes.node_volumes import NodeVolumes
from orchestrator.runtime.watching import Watchdog
from store.errors import NoSpace, SessionLost, Unavailable
from store.mirror import Mirror
from store.patience import Clock, Patience
from store.protocol import PROGRESS_SECONDS, Store

log = structlog.get_logger()

LOOK_SECONDS = 10.0
"""The slow look, beside all wake-ups."""

FULL_STORE_RETRY_SECONDS = 2.0

LAG_SECONDS = 1.5 * PROGRESS_SECONDS

MAX_TOLD_IMAGES = 500

LEAVE_SECONDS = 3.0
"""How long a leaving agent tries to say so."""


async def _they_run_on() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """`stops_instances_on_exit` is asked when the agent is to end."""

    node: str
    profile: NodeProfile
    hostname: str = ""
    pid: int = 0
    lease_ttl_seconds: int = 10
    accepts_store: bool = False
    stops_instances_on_exit: Callable[[], Awaitable[bool]] = _they_run_on


class Agent:
    """`announce` is told the lease of each new session, before anything is put on it."""

    _epoch = 0
    """Of the last session: its row is ours, whatever people write over it."""

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
        survey: Survey = node_report,
        watchdog: Watchdog | None = None,
        admit: Admit = vouched_for,
        announce: Callable[[int], None] = lambda _lease_id: None,
    ) -> None:
        self._store = store
        self._announce = announce
        self._keys = keys
        self._runtime = runtime
        self._images = images
        self._home = home
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._survey = survey
        self._wake = asyncio.Event()
        self._report = NodeReport("", NodeResources(), NodeResources())
        self._registration: Registration | None = None
        self._noted_at = clock()
        node = settings.node
        self._admission = Admission(
            store, keys, node, home, patience=self._endless_patience, admit=admit
        )
        self._standing = Standing(clock, settings.lease_ttl_seconds)
        self._residents = Residents(home)
        self._residents.load()
        self._fencing = Fencing(watchdog, runtime, self._standing, clock, self._tell_watchdog)
        self._reporter = Reporter(store, keys, node, clock=clock, patience=self._patience, rng=rng)
        self._assignments = Assignments(
            store,
            keys,
            node,
            clock=clock,
            rng=rng,
            wake=self._wake.set,
            remembered=remembered(self._residents.by_name.values()),
        )
        self.volume_rows = VolumeRows(node, keys, self._reporter, volumes, now=now)
        pins = PinStore(
            store, keys, fence=lambda: self._reporter.fence, patience=self._patience, rng=rng
        )
        self._preparation = Preparation(node, images, pins, self.volume_rows)
        self._workers = self._new_workers(ports)

    def _new_workers(self, ports: PortPicker) -> Workers:
        care = LocalCare(
            self._residents, self._reporter, self._runtime, self._preparation, self._clock
        )
        return Workers(
            self._settings.node,
            self._runtime,
            assignments=self._assignments,
            templates=Templates(self._store, self._keys, self._settings.node),
            preparation=self._preparation,
            reporter=self._reporter,
            care=care,
            fencing=self._fencing,
            contact=lambda: self._standing.contact,
            clock=self._clock,
            ports=ports,
            metrics=self._metrics,
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
        self._report = self._survey(
            self._settings.profile, await self._runtime.init_node(), self._home.path
        )
        self._runtime.on_change(self._wake.set)
        for each in self._residents.by_name.values():
            self._reporter.resume(each.assignment.name, each.observation)
        try:
            await run_until(stop, self._alone(self._check_store()))
            if not stop.is_set():
                await self._work(stop)
        finally:
            await self._workers.close()
            await self._runtime.close()

    async def _alone(self, work: Awaitable[None]) -> None:
        """Look after what runs here for as long as `work`, the store's first answer, takes."""
        caring, working = asyncio.create_task(self._care()), asyncio.ensure_future(work)
        try:
            await asyncio.wait({caring, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            caring.cancel()
            working.cancel()
            await asyncio.wait({caring, working})
        if not caring.cancelled():
            caring.result()
        working.result()

    async def _care(self) -> None:
        """All that goes on whether the store is there or not."""
        async with asyncio.TaskGroup() as tasks:
            for work in (self._residents.run(), self._beat(), self._look_on()):
                tasks.create_task(work)

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._care()),
                tasks.create_task(self._follow()),
                tasks.create_task(self._assignments.run()),
                tasks.create_task(self._hold_sessions()),
                tasks.create_task(self._reporter.run()),
            ]
            tending = tasks.create_task(self._images.tend()) if self._images else None
            await stop.wait()
            if tending:
                tending.cancel()
            await self._leave(work)

    async def _beat(self) -> NoReturn:
        """Time alone changes what is to be done, once the node is cut off."""
        ttl = self._settings.lease_ttl_seconds
        while True:
            self._fencing.renew()
            await self._fencing.tend()
            is_sure = self._standing.contact is Contact.SURE
            if not is_sure:
                self._wake.set()
            await asyncio.sleep(ttl / 5 if is_sure else ttl / 10)

    async def _check_store(self) -> None:
        """Before anything is obeyed, and before anything is said."""
        await self._admission.check(
            is_patient=bool(self._residents.by_name), accepts_store=self._settings.accepts_store
        )
        async for attempt in self._endless_patience().retrying(Unavailable):
            with attempt:
                await self._reporter.load()
        self.volume_rows.match()

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
        self._announce(registration.session.lease_id)
        fence = await registration.register(self._endless_patience())
        self._epoch = fence.create_revision
        is_lost = asyncio.Event()
        self._standing.begin(registration.session)
        self._fencing.renew()
        self._reporter.set_fence(fence, on_lost=is_lost.set)
        self._reporter.report_node(self._report)
        self._wake.set()  # what was in doubt until now can be told
        self._metrics.has_session.set(1)
        log.info("registered", epoch=fence.create_revision)
        try:
            await run_until(is_lost, registration.session.keep_alive())
            self._fencing.give_up_session()
            raise SessionLost("its row in the store is gone, or another's")
        finally:
            self._standing.end()
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
            before_revoking=self._fencing.give_up_session,
            former_epoch=self._epoch,
        )

    async def _look_on(self) -> NoReturn:
        """Look, again and again, at what is known to be wanted here."""
        while True:
            self._wake.clear()
            await self._workers.look()
            self._tell_problem(self._runtime.problem())
            if self._assignments.is_obeyed:
                await self._tell_images()
                await self._note_progress()
            await self._woken()

    async def _follow(self) -> None:
        """Obey the store, but not before all assignments are known."""
        await self._assignments.mirror.synced()
        await self._see_all_that_was_seen()
        await self._admission.know_store()
        self._assignments.obey()
        self._wake.set()

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

    def _tell(self, report: NodeReport) -> None:
        """If it is news."""
        if report != self._report:
            self._report = report
            self._reporter.report_node(report)

    def _tell_watchdog(self, is_at_work: bool) -> None:
        if is_at_work is not self._report.has_watchdog:
            self._tell(replace(self._report, has_watchdog=is_at_work))

    def _tell_problem(self, problem: str) -> None:
        if problem != self._report.problem:
            self._tell(replace(self._report, problem=problem))

    async def _tell_images(self) -> None:
        """So that the scheduler may prefer the nodes that need not pull."""
        if self._images is None:
            return
        names = {name for image in await self._images.list() for name in image.names}
        self._tell(replace(self._report, images=tuple(sorted(names)[:MAX_TOLD_IMAGES])))

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
        caring, following, watching, holding, reporting = work
        caring.cancel()
        following.cancel()
        if await self._settings.stops_instances_on_exit():
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
        self._fencing.give_up_session()
        if self._registration is not None:
            await self._registration.session.close()

    def _patience(self) -> Patience:
        return Patience(self._clock, self._rng, limit_seconds=5.0)

    def _endless_patience(self) -> Patience:
        return Patience(self._clock, self._rng, inf)
