"""The agent's HTTP routes for images: which are on this node, to pull one, and to delete some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import hdrs, web
from pydantic import TypeAdapter

from orchestrator.model import errors
from orchestrator.model.container import PullPolicy
from orchestrator.model.image import ImageReference
from orchestrator.model.stored_image import DeletedImages, PullLine, StoredImage
from orchestrator.process.streams import while_connected
from orchestrator.runtime.images.node_images import Image, NodeImages
from orchestrator.runtime.images.room import Deleted

_LINE = TypeAdapter(PullLine)
_ITEMS = TypeAdapter(dict[str, list[StoredImage]])
_DELETED = TypeAdapter(DeletedImages)

Write = Callable[[bytes], Awaitable[None]]


def image_routes(node: str, images: NodeImages | None) -> list[web.RouteDef]:
    """Of `model.stored_image`: `GET /v1/images`: `{"items": [StoredImage]}`. `POST
    /v1/images?image=`: lines of JSON, each a `PullLine`; the tag is looked up anew. `DELETE
    /v1/images?image=` and `POST /v1/images/prune`: `DeletedImages`.

    `images` None: the node runs none, and says so.
    """
    routes = _Routes(node, images)
    return [
        web.get("/v1/images", routes.list),
        web.post("/v1/images", routes.pull),
        web.delete("/v1/images", routes.remove),
        web.post("/v1/images/prune", routes.prune),
    ]


class _Routes:
    def __init__(self, node: str, images: NodeImages | None) -> None:
        self._node = node
        self._given = images

    async def list(self, _request: web.Request) -> web.Response:
        stored = [self._stored(each) for each in await self._images.list()]
        return _json(_ITEMS.dump_json({"items": stored}))

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """What cannot be is refused at once; else the last line tells how it went."""
        images, reference = self._images, _reference(request)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson"})
        await response.prepare(request)
        async with while_connected(request):
            told = _Told(response.write)
            try:
                async with told.passed_on():
                    pinned = await images.resolve(reference, PullPolicy.ALWAYS)
                    image = await images.pull(pinned, on_progress=told.tell, name=reference)
                last = PullLine(image=self._stored(image))
            except errors.RuntimeError as error:
                last = PullLine(problem=str(error))
            await response.write(_line(last))
            await response.write_eof()
        return response

    async def remove(self, request: web.Request) -> web.Response:
        return self._deleted(await self._images.remove(_reference(request)))

    async def prune(self, _request: web.Request) -> web.Response:
        return self._deleted(await self._images.prune())

    @property
    def _images(self) -> NodeImages:
        if self._given is None:
            raise errors.StateError(
                f"node {self._node} runs no images: give its agent an OCI runtime (--oci-runtime)"
            )
        return self._given

    def _stored(self, image: Image) -> StoredImage:
        return StoredImage(
            self._node,
            image.pinned,
            image.names,
            image.size_bytes,
            image.created,
            image.used_at,
            self._images.users(image.pinned),
        )

    def _deleted(self, deleted: Deleted) -> web.Response:
        told = DeletedImages(self._node, deleted.images, deleted.freed_bytes)
        return _json(_DELETED.dump_json(told))


class _Told:
    """Passes on how far a pull is: to a slow reader, only the latest."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._sentence = ""
        self._news = asyncio.Event()

    def tell(self, sentence: str) -> None:
        self._sentence = sentence
        self._news.set()

    @asynccontextmanager
    async def passed_on(self) -> AsyncIterator[None]:
        passing = asyncio.create_task(self._pass_on())
        try:
            yield
        finally:
            passing.cancel()
            await asyncio.wait({passing})

    async def _pass_on(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._write(_line(PullLine(progress=self._sentence)))


def _reference(request: web.Request) -> str:
    reference = request.query.get("image", "")
    if not reference:
        raise errors.ConfigError("no image is named: say which with ?image=")
    return str(ImageReference.parse(reference))


def _line(line: PullLine) -> bytes:
    return _LINE.dump_json(line) + b"\n"


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
