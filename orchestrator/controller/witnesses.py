"""Other nodes' agents, asked what they find at a suspect's address."""

from __future__ import annotations

import asyncio
import json
import random

import aiohttp

from orchestrator.cluster.view import ClusterView
from orchestrator.controller.suspicion import chosen_witnesses
from orchestrator.process.vigil import BROKEN, Suspect
from orchestrator.process.witness import Statement

ANSWER_SECONDS = 3.0
MAX_BYTES = 256


class Witnesses:
    def __init__(
        self, view: ClusterView, http: aiohttp.ClientSession, *, rng: random.Random
    ) -> None:
        self._view = view
        self._http = http
        self._rng = rng

    async def statements(self, suspect: Suspect) -> dict[str, Statement]:
        """By the node of each witness; none if too few nodes are there to bear it out."""
        state = self._view.state
        addresses = {
            node: report.record.address
            for node, report in state.reports.items()
            if node in state.sessions and report.record.address
        }
        chosen = chosen_witnesses(suspect.name, addresses, self._rng)
        found = await asyncio.gather(*(self._ask(addresses[each], suspect) for each in chosen))
        return dict(zip(chosen, found, strict=True))

    async def _ask(self, address: str, suspect: Suspect) -> Statement:
        url = address.rstrip("/") + "/v1/witness"
        asked = self._http.post(url, params={"address": suspect.address}, allow_redirects=False)
        try:
            async with asyncio.timeout(ANSWER_SECONDS), asked as answer:
                answer.raise_for_status()
                body = await answer.content.read(MAX_BYTES)
                return Statement(json.loads(body)["statement"])
        except (*BROKEN, KeyError, TypeError):  # it is dead itself, or speaks another language
            return Statement.UNCLEAR
