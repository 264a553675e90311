"""`/healthz` and `/readyz`: probes that ask, each under a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

PROBE_LIMIT_SECONDS = 2.0

Probe = Callable[[], Awaitable[str | None]]
"""Answers None when all is well, else a sentence that says what is not."""


@dataclass(frozen=True, slots=True)
class Health:
    """`live`: whether a restart would help. `ready`: whether requests should come here."""

    live: Mapping[str, Probe] = field(default_factory=dict)
    ready: Mapping[str, Probe] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)]

    async def _healthz(self, _request: web.Request) -> web.Response:
        return await _answer(self.live)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return await _answer({**self.live, **self.ready})


async def _answer(probes: Mapping[str, Probe]) -> web.Response:
    """503 if any probe fails; the body names each probe and what it found."""
    findings = await asyncio.gather(*(_ask(probe) for probe in probes.values()))
    found = {name: finding or "ok" for name, finding in zip(probes, findings, strict=True)}
    is_well = not any(findings)
    body = {"status": "ok" if is_well else "failing", "probes": found}
    return web.json_response(body, status=200 if is_well else 503)


async def _ask(probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(PROBE_LIMIT_SECONDS):
            return await probe()
    except TimeoutError:
        return f"no answer within {PROBE_LIMIT_SECONDS:g} s"
