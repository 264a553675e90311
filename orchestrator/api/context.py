"""`Api`: what the handlers of one replica work with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import aiohttp

from orchestrator.api.errors import NotCurrent
from orchestrator.api.journal import Journal
from orchestrator.api.responses import Streams
from orchestrator.api.shown import Shown
from orchestrator.api.writer import DesiredWriter
from orchestrator.cluster.view import ClusterView
from orchestrator.model.cluster_state import ClusterState
from orchestrator.planning.loss import MASS_LOSS_FRACTION
from orchestrator.scheduler.protocol import Scheduler


def _no_warnings() -> Iterable[str]:
    return ()


@dataclass(slots=True)
class Api:
    """`agents` is the HTTP client for node agents, with our token and TLS; `address` is this
    replica's own URL; `scheduler` is the one that it would lead with; `warnings` are what people
    have to be told of the store (its version, its room). Who holds `simulating` thinks ahead.
    """

    view: ClusterView
    writer: DesiredWriter
    agents: aiohttp.ClientSession
    replica: str
    address: str
    scheduler: Scheduler
    warnings: Callable[[], Iterable[str]] = _no_warnings
    mass_loss_fraction: float = MASS_LOSS_FRACTION
    read_patience_seconds: float = 5.0
    heartbeat_seconds: float = 10.0
    streams: Streams = field(default_factory=Streams)
    simulating: asyncio.Lock = field(default_factory=asyncio.Lock)
    journal: Journal = field(init=False)
    shown: Shown = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.view)
        self.shown = Shown(self.view)

    @property
    def state(self) -> ClusterState:
        return self.view.state

    async def caught_up(self, revision: int) -> None:
        """Wait until the mirror has been filled, and has reached `revision`.

        Raises `NotCurrent` when that takes too long.
        """
        try:
            async with asyncio.timeout(self.read_patience_seconds):
                await self.view.synced()
                await self.view.reached(revision)
        except TimeoutError:
            raise NotCurrent(self._why_not_current(revision)) from None

    def _why_not_current(self, revision: int) -> str:
        if not self.view.is_synced:
            return "this replica has not read the store yet: try again, or ask another replica"
        return (
            f"this replica has read up to revision {self.view.revision}, not yet up to "
            f"{revision}: try again, ask another replica, or for a lower min_revision"
        )
