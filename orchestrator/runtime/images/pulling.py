"""Pulling one image: its manifest, its blobs, its layers. Nothing counts until all of it is here.

    pulls/<digest of the pinned reference>/blobs/sha256/   what has arrived whole
    pulls/<digest of the pinned reference>/layout/         what is arriving

What has arrived of a pull that the registry has broken off stays for the next try.

For a layer that is unpacked already, a file stands in that is as large and has nothing in it:
skopeo fetches no blob whose file is there, and never looks into those.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model import errors
from orchestrator.model.image import ImageReference
from orchestrator.runtime.images.config import ImageDocument, read_config
from orchestrator.runtime.images.deleting import Trash
from orchestrator.runtime.images.joining import Tell
from orchestrator.runtime.images.layers import LayerStore
from orchestrator.runtime.images.manifests import Blob, Index, Manifest, digest_of, read_manifest
from orchestrator.runtime.images.platforms import Machine
from orchestrator.runtime.images.progress import Arrival
from orchestrator.runtime.images.records import ImageRecord
from orchestrator.runtime.images.skopeo import RegistryError, Skopeo

MakeRoom = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image: its manifest for this machine, and the reference that means that one."""

    pinned: str
    shown: str
    exact: str
    manifest: Manifest


class Puller:
    def __init__(
        self,
        root: Path,
        skopeo: Skopeo,
        layers: LayerStore,
        trash: Trash,
        machine: Machine,
        *,
        stall_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._pulls = root / "pulls"
        self._skopeo = skopeo
        self._layers = layers
        self._trash = trash
        self._machine = machine
        self._stall_seconds = stall_seconds
        self._clock = clock

    async def clear_away(self, under_way: Iterable[str] = ()) -> None:
        """Delete what is left of pulls that were broken off."""
        kept = {self._place(pinned).path for pinned in under_way}
        self._pulls.mkdir(exist_ok=True)
        await self._trash.throw(*set(self._pulls.iterdir()) - kept)

    async def find(self, pinned: str, shown: str) -> Wanted:
        """Ask the registry for the manifest. Raises `RuntimeError`."""
        reference = ImageReference.parse(pinned)
        found = read_manifest(await self._skopeo.manifest(pinned, reference.digest))
        if isinstance(found, Manifest):
            return Wanted(pinned, shown, pinned, found)
        exact = reference.pinned(found.choose(self._machine))
        chosen = read_manifest(await self._skopeo.manifest(str(exact), exact.digest))
        if isinstance(chosen, Index):
            raise errors.RuntimeError("it is an index of indexes, which is not supported")
        return Wanted(pinned, shown, str(exact), chosen)

    @asynccontextmanager
    async def pulled(
        self, wanted: Wanted, make_room: MakeRoom, tell: Tell
    ) -> AsyncIterator[ImageRecord]:
        """The image, all of whose layers are here and stay until the block ends. `make_room` is
        told how many bytes are to come. Raises `RuntimeError`."""
        place = self._place(wanted.pinned)
        with ExitStack() as held:
            try:
                document = await self._fetch(wanted, place, held, make_room, tell)
                held.enter_context(self._layers.holding(document.diff_ids))
                await self._unpack(wanted, place, document, tell)
            except RegistryError:
                await self._trash.throw(place.layout)
                raise
            except BaseException:
                await self._trash.throw(place.path)
                raise
            await self._trash.throw(place.path)
            layers = document.diff_ids
            yield ImageRecord(wanted.pinned, document.config, layers, document.created)

    async def _fetch(
        self, wanted: Wanted, place: _Place, held: ExitStack, make_room: MakeRoom, tell: Tell
    ) -> ImageDocument:
        """Bring what is not here to `place`, and read the config."""
        layers = set(wanted.manifest.layers)
        here = {
            blob: record
            for blob in layers
            if (record := self._layers.unpacked_from(blob.digest)) is not None
        }
        held.enter_context(self._layers.holding([each.diff_id for each in here.values()]))
        missing = layers - set(here)
        await make_room(sum(blob.size for blob in missing if not place.file(blob).exists()))
        await asyncio.to_thread(place.prepare)
        with place.standing_in(here):
            await self._copy(wanted, place, missing, tell)
        content = await asyncio.to_thread(place.file(wanted.manifest.config).read_bytes)
        if digest_of(content) != wanted.manifest.config.digest:
            raise RegistryError("the registry lies: the config that it sent has another digest")
        document = read_config(content, self._machine)
        if len(document.diff_ids) != len(wanted.manifest.layers):
            raise errors.RuntimeError(
                f"its manifest has {len(wanted.manifest.layers)} layers, and its config"
                f" {len(document.diff_ids)}"
            )
        return document

    async def _copy(
        self, wanted: Wanted, place: _Place, missing: Collection[Blob], tell: Tell
    ) -> None:
        arrival = Arrival(
            place.blobs,
            place.layout,
            {place.file(blob).name: blob.size for blob in missing},
            stall_seconds=self._stall_seconds,
            clock=self._clock,
        )

        def look() -> None:
            how_far = arrival.look()
            if missing:
                tell(f"pulling {wanted.shown}: {how_far}")

        look()
        await self._skopeo.copy(wanted.exact, place.layout, place.blobs.parent, look)

    async def _unpack(
        self, wanted: Wanted, place: _Place, document: ImageDocument, tell: Tell
    ) -> None:
        count, done = len(document.diff_ids), 0

        async def unpack(blob: Blob, diff_id: str) -> None:
            nonlocal done
            await self._layers.add(blob, place.file(blob), diff_id)
            done += 1
            tell(f"unpacking {wanted.shown}: {done} of {count} layers")

        failures: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as unpacking:
                for blob, diff_id in zip(wanted.manifest.layers, document.diff_ids, strict=True):
                    unpacking.create_task(unpack(blob, diff_id))
        except* (errors.RuntimeError, OSError) as group:
            failures += group.exceptions
        if failures:
            raise failures[0]

    def _place(self, pinned: str) -> _Place:
        return _Place(self._pulls / hashlib.sha256(pinned.encode()).hexdigest())


class _Place:
    """The directory of one pull."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs" / "sha256"
        self.layout = path / "layout"

    def file(self, blob: Blob) -> Path:
        return self.blobs / blob.digest.removeprefix("sha256:")

    def prepare(self) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.layout.mkdir()

    @contextmanager
    def standing_in(self, blobs: Collection[Blob]) -> Iterator[None]:
        for blob in blobs:
            self.file(blob).touch()
            os.truncate(self.file(blob), blob.size)
        try:
            yield
        finally:
            for blob in blobs:
                self.file(blob).unlink(missing_ok=True)
