"""A registry that lies, dawdles and hangs up, as it is told to.

async with hostile_registry(layout, tmp_path) as registry:
    registry.fault = Fault.CUT
    await images.pull(registry.pinned(source), ...)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path

from aiohttp import web

from orchestrator.runtime.images.terms import RegistryTerms
from tests.support.images import digest
from tests.support.ports import free_port
from tests.support.registry import plain_http_conf

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SMALL = 1000
"""Blobs below that, such as configs, come in good order whatever the fault."""


class Fault(Enum):
    NONE = "none"
    OTHER_MANIFEST = "another manifest than the one that was asked for"
    OTHER_BLOB = "another blob, of the same length"
    CUT = "half of a blob, then the connection is closed"
    STALLED = "half of a blob, then nothing"
    SHORT = "less than the Content-Length says"
    ENDLESS = "more and more"
    BROKEN = "status 500, with a reason"
    SILENT = "no answer at all"


class HostileRegistry:
    """Serves the blobs of an OCI layout. `asked` counts the requests for each blob."""

    def __init__(self, layout: Path, conf: Path, host: str) -> None:
        self.fault = Fault.NONE
        self.host = host
        self.asked: Counter[str] = Counter()
        self.stopping = asyncio.Event()
        self._blobs = layout / "blobs" / "sha256"
        self._conf = conf

    def terms(self, **more: float) -> RegistryTerms:
        return RegistryTerms(registries_conf=self._conf, **more)  # type: ignore[arg-type]

    def pinned(self, source: str) -> str:
        """The reference of what `build` has put into the layout."""
        return f"{self.host}/lib/app@{digest(source)}"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/", self._greet),
            web.get("/v2/lib/app/manifests/{digest}", self._manifest, allow_head=False),
            web.get("/v2/lib/app/blobs/{digest}", self._blob, allow_head=False),
        ]

    async def _greet(self, request: web.Request) -> web.StreamResponse:
        if self.fault is Fault.SILENT:
            await self.stopping.wait()
        return web.Response()

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        if self.fault is Fault.BROKEN:
            errors = [{"code": "UNKNOWN", "message": "the disk of the registry is on fire"}]
            return web.json_response({"errors": errors}, status=500)
        content = self._content(request)
        if self.fault is Fault.OTHER_MANIFEST:
            content += b" "
        return web.Response(body=content, content_type=MANIFEST)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        content = self._content(request)
        self.asked[request.match_info["digest"]] += 1
        misbehave = _MISBEHAVIOURS.get(self.fault)
        if misbehave is None or len(content) < SMALL:
            return web.Response(body=content)
        return await misbehave(self, request, content)

    def _content(self, request: web.Request) -> bytes:
        name = request.match_info["digest"].removeprefix("sha256:")
        try:
            return (self._blobs / name).read_bytes()
        except FileNotFoundError:
            errors = '{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
            raise web.HTTPNotFound(text=errors, content_type="application/json") from None

    async def _other_blob(self, request: web.Request, content: bytes) -> web.StreamResponse:
        return web.Response(body=content[:-1] + bytes([content[-1] ^ 1]))

    async def _cut(self, request: web.Request, content: bytes) -> web.StreamResponse:
        response = await self._half(request, content, len(content))
        assert request.transport
        request.transport.abort()
        return response

    async def _stalled(self, request: web.Request, content: bytes) -> web.StreamResponse:
        response = await self._half(request, content, len(content))
        await self.stopping.wait()
        return response

    async def _short(self, request: web.Request, content: bytes) -> web.StreamResponse:
        return await self._half(request, content, len(content) + 1000, sent=len(content))

    async def _endless(self, request: web.Request, content: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.stopping.is_set():
            await response.write(bytes(1_000_000))
        return response

    async def _half(
        self, request: web.Request, content: bytes, told: int, sent: int | None = None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(told)})
        await response.prepare(request)
        await response.write(content[: len(content) // 2 if sent is None else sent])
        return response


_Misbehaviour = Callable[[HostileRegistry, web.Request, bytes], Awaitable[web.StreamResponse]]
_MISBEHAVIOURS: dict[Fault, _Misbehaviour] = {
    Fault.OTHER_BLOB: HostileRegistry._other_blob,
    Fault.CUT: HostileRegistry._cut,
    Fault.STALLED: HostileRegistry._stalled,
    Fault.SHORT: HostileRegistry._short,
    Fault.ENDLESS: HostileRegistry._endless,
}


@asynccontextmanager
async def hostile_registry(layout: Path, path: Path) -> AsyncIterator[HostileRegistry]:
    host = f"127.0.0.1:{free_port()}"
    registry = HostileRegistry(layout, plain_http_conf(path / "hostile.conf", host), host)
    app = web.Application()
    app.add_routes(registry.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    name, _, port = host.partition(":")
    await web.TCPSite(runner, name, int(port)).start()
    try:
        yield registry
    finally:
        registry.stopping.set()
        await runner.cleanup()
