"""`ConnectedPeers`: the other replicas, known by the connections that are held to the leader."""

from __future__ import annotations

import random

import aiohttp
import structlog

from orchestrator.model.node import Leader
from orchestrator.process.presence import Presence
from orchestrator.process.vigil import Suspect, Vigil

log = structlog.get_logger()


class ConnectedPeers:
    """The `Peers` of a `LeaderLoop` in a process that serves `presence`."""

    def __init__(
        self, presence: Presence, http: aiohttp.ClientSession, *, rng: random.Random
    ) -> None:
        self._presence = presence
        self._http = http
        self._rng = rng

    def announce(self, lease_id: int) -> None:
        self._presence.announce(lease_id)

    async def until_dead(self, leader: Leader, lease_id: int) -> None:
        suspect = Suspect(leader.replica, leader.address, lease_id)

        def tell() -> None:
            log.info("the leader's death will be noticed at once", leader=leader.replica)

        await Vigil(self._http, suspect, self._rng.random, on_met=tell).until_dead()
