"""`NodeVigils`: the leader's connections to all agents, so that a node's death is noticed at once.

It changes only *when* the silence is noticed: the session of a node that is found dead is ended
rather than waited for, and whatever follows from its end goes on as ever. An agent that lives after
all finds its session lost, and registers again.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import NoReturn

import aiohttp
import structlog

from orchestrator.cluster.view import ClusterView, News
from orchestrator.controller.node_events import Tell
from orchestrator.controller.suspicion import Evidence, doubt, witnesses_of
from orchestrator.controller.witnesses import Witnesses
from orchestrator.model.errors import StateError
from orchestrator.model.instance import Assignment
from orchestrator.model.keys import Kind
from orchestrator.model.records import load
from orchestrator.process.vigil import Suspect, Vigil
from store.errors import LeaseNotFound, OutcomeUnknown, Unavailable
from store.values import KeyValue, RangeOp, prefix_end

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""Between two looks at who is there, and before the first: a new leader has urgent things to do."""

ASK_AGAIN_SECONDS = 1.0

NOT_NOW = (Unavailable, OutcomeUnknown)


class NodeVigils:
    """`replica` is the leader's own name, as it signs what it finds."""

    def __init__(
        self, view: ClusterView, http: aiohttp.ClientSession, *, replica: str, rng: random.Random
    ) -> None:
        self._view = view
        self._http = http
        self._replica = replica
        self._rng = rng
        self._witnesses = Witnesses(view, http, rng=rng)
        self._held: dict[Suspect, asyncio.Task[None]] = {}
        self._met: set[Suspect] = set()
        self._news = asyncio.Event()

    @property
    def met(self) -> int:
        """How many nodes there are whose death would be noticed at once."""
        return len(self._met)

    async def run(self, tasks: asyncio.TaskGroup, tell: Tell) -> NoReturn:
        """For a term of office; the vigils themselves are among `tasks`."""

        def wake(news: News) -> None:
            if news.nodes:
                self._news.set()

        self._news.set()
        with self._view.waking(wake):
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                await self._news.wait()
                self._news.clear()
                try:
                    self._follow(tasks, tell, await self._suspects())
                except NOT_NOW:
                    self._news.set()

    async def _suspects(self) -> set[Suspect]:
        """Every node with a session. Its lease is read from the store: the mirror keeps none."""
        folder = self._view.keys.folder(Kind.SESSION)
        rows = await self._view.store.range(RangeOp(folder, prefix_end(folder)))
        leases = {kv.key.removeprefix(folder): kv.lease for kv in rows.kvs if kv.lease}
        return {
            Suspect(node, report.record.address, leases[node])
            for node, report in self._view.state.reports.items()
            if node in leases and report.record.address
        }

    def _follow(self, tasks: asyncio.TaskGroup, tell: Tell, suspects: set[Suspect]) -> None:
        for gone in self._held.keys() - suspects:
            self._held.pop(gone).cancel()
            self._met.discard(gone)
        for new in suspects - self._held.keys():
            self._held[new] = tasks.create_task(self._guard(new, tell))

    async def _guard(self, suspect: Suspect, tell: Tell) -> None:
        """Until we have ended its session; cancelled when that has ended otherwise."""
        on_met = partial(self._met.add, suspect)
        vigil = Vigil(self._http, suspect, self._rng.random, on_met=on_met)
        doubts = ""
        while True:
            await vigil.until_dead()
            doubts, told = await self._judge(suspect, tell), doubts
            if not doubts:
                self._met.discard(suspect)
                return
            if doubts != told:
                log.warning("a node looks dead from here", node=suspect.name, doubt=doubts)
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _judge(self, suspect: Suspect, tell: Tell) -> str:
        """Why it is left to its lease, for now; empty when its session has ended. A lease id is
        never used twice, so that no later session of the node can be hit."""
        try:
            evidence = await self._evidence(suspect)
            if why := doubt(evidence):
                return why
            await self._view.store.revoke_lease(suspect.lease_id)
        except LeaseNotFound:
            return ""
        except NOT_NOW as error:
            return str(error)
        await tell("NodeFoundDead", suspect.name, self._finding(suspect, evidence))
        return ""

    async def _evidence(self, suspect: Suspect) -> Evidence:
        statements = await self._witnesses.statements(suspect)
        folder = self._view.keys.assignments(suspect.name)
        rows = await self._view.store.range(RangeOp(folder, prefix_end(folder)))
        has_promised = any(map(self._may_be_a_promise, rows.kvs))
        return Evidence(suspect.name, statements, has_promised=has_promised)

    def _may_be_a_promise(self, kv: KeyValue) -> bool:
        """So may be whatever cannot be read."""
        try:
            assignment = load(self._view.keys.parse(kv.key), kv.value)
        except StateError:
            return True
        assert isinstance(assignment, Assignment)
        return assignment.fence is not None

    def _finding(self, suspect: Suspect, evidence: Evidence) -> str:
        agents = " and ".join(witnesses_of(evidence))
        return (
            f"its agent has died: leader {self._replica} has lost its connection to it, and like"
            f" the agents of {agents} finds that nobody listens at {suspect.address}"
        )
