"""The images of a node: found, pulled, kept for as long as they are used, and cleared away.

Theory of operation
-------------------
An image is known by its pinned reference, `<repository>@sha256:<digest>`: what a tag stands for is
asked of the registry, and noted. All that is under the node's directory is either whole and named
for what it is, or is being made elsewhere and moved there in one step, or is waiting to be deleted
in a third place. So an agent that is killed at any moment finds, when it starts again, the images
that it had, and throws away the rest.

Who uses an image is not written down here: the runtime knows its containers (`in_use`), who is
about to start one says so (`using`), and a pull holds the layers that it has come to. What none of
them names may be deleted at any time; what is deleted is taken out of sight before anything else
is awaited, so that nobody can be given half of an image.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.model import errors
from orchestrator.model.container import PullPolicy
from orchestrator.model.image import ImageReference
from orchestrator.runtime.images.config import ImageConfig
from orchestrator.runtime.images.deleting import Trash
from orchestrator.runtime.images.joining import Joining, Tell
from orchestrator.runtime.images.layers import LayerStore
from orchestrator.runtime.images.manifests import digest_of, read_manifest
from orchestrator.runtime.images.platforms import this_machine
from orchestrator.runtime.images.pulling import Puller
from orchestrator.runtime.images.records import ImageRecord, ImageRecords
from orchestrator.runtime.images.room import Deleted, Room
from orchestrator.runtime.images.skopeo import Skopeo
from orchestrator.runtime.images.terms import RegistryTerms, StorageTerms
from orchestrator.runtime.programs import Programs

Users = Mapping[str, Collection[str]]
"""The ids of the containers that have each image, by its pinned reference."""

STARTING = "a container that is being started"


@dataclass(frozen=True, slots=True)
class Image:
    """`names` are the tags that were last seen to stand for it. `layers` are lower directories for
    overlayfs, topmost first. `used_at`: in seconds since 1970."""

    pinned: str
    names: tuple[str, ...]
    config: ImageConfig
    layers: tuple[Path, ...]
    size_bytes: int
    created: str
    used_at: float = field(compare=False)


class NodeImages:
    """`in_use` tells who uses what; `clock` tells monotonic seconds, `now` those since 1970.

    Errors are `model.errors.RuntimeError`, in the registry's own words where it has any.
    """

    def __init__(
        self,
        root: Path,
        registry: RegistryTerms,
        storage: StorageTerms,
        *,
        in_use: Callable[[], Users],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root = root.absolute()  # containers are mounted from elsewhere
        self._in_use = in_use
        self._now = now
        self._tend_seconds = storage.tend_seconds
        self._programs = Programs(root / "lock")
        self._skopeo = Skopeo(registry, self._programs)
        self._records = ImageRecords(root)
        self._trash = Trash(root / "gone", self._programs)
        self._layers = LayerStore(
            root,
            storage.bounds,
            self._programs,
            self._trash,
            unpacks_at_once=storage.unpacks_at_once,
        )
        self._puller = Puller(
            root,
            self._skopeo,
            self._layers,
            self._trash,
            this_machine(),
            stall_seconds=registry.stall_seconds,
            clock=clock,
        )
        self._room = Room(root, storage, self._records, self._layers, users=self._users, now=now)
        self._pulls: Joining[str, ImageRecord] = Joining()
        self._slots = asyncio.Semaphore(storage.pulls_at_once)
        self._starting: Counter[str] = Counter()
        self._is_open = False
        self.skopeo_version = ""

    async def open(self) -> None:
        """Probe skopeo, take up the images that are here, clear away what was half made.

        To be called when `in_use` knows of all containers. Until then there are no images here,
        and whatever is asked for raises `StateError`. Repeated, it does nothing.
        """
        if self._is_open:
            return
        await asyncio.to_thread(self._root.mkdir, 0o700, True, True)
        self.skopeo_version = await self._skopeo.version()
        await self._programs.end_stragglers()
        await self._trash.open()
        await self._puller.clear_away()
        await self._layers.open()
        await asyncio.to_thread(self._records.open, self._layers.records.keys())
        self._is_open = True

    async def resolve(self, reference: str, policy: PullPolicy) -> str:
        """The pinned reference that `reference` stands for. Raises `ConfigError` if it can be none.

        The registry is asked for a tag always, or if no image is here that it stood for, or never.
        """
        self._check_open()
        named = ImageReference.parse(reference)
        if named.is_pinned:
            return str(named.pinned(named.digest))
        known = self._records.pinned_by_name.get(str(named))
        if known and known in self._records.by_pinned and policy is not PullPolicy.ALWAYS:
            return known
        if policy is PullPolicy.NEVER:
            raise _not_here(str(named))
        try:
            manifest = await self._skopeo.manifest(str(named))
            read_manifest(manifest)
        except errors.RuntimeError as error:
            raise errors.RuntimeError(f"cannot look up image {named}: {error}") from None
        return str(named.pinned(digest_of(manifest)))

    @contextmanager
    def using(self, pinned: str) -> Iterator[None]:
        """Keep it until the block ends, if it is here, and when it comes."""
        self._starting[pinned] += 1
        self._records.touch(pinned, self._now())
        try:
            yield
        finally:
            self._starting[pinned] -= 1
            self._records.touch(pinned, self._now())

    async def pull(
        self,
        pinned: str,
        policy: PullPolicy = PullPolicy.IF_NOT_PRESENT,
        on_progress: Tell = lambda _: None,
        *,
        name: str = "",
    ) -> Image:
        """Have it here. `name` is the tag for which it was wanted, to be noted.

        With `ALWAYS` the registry is asked whether it still gives it to us, even if it is here.
        """
        self._check_open()
        tag = ImageReference.parse(name) if name else None
        shown = str(tag or _short(pinned))
        if pinned in self._records.by_pinned:
            if policy is PullPolicy.ALWAYS:
                await self._find(pinned, shown)
        elif policy is PullPolicy.NEVER:
            raise _not_here(shown)
        with self.using(pinned):

            async def work(tell: Tell) -> ImageRecord:
                return await self._pull(pinned, shown, tell)

            if pinned not in self._records.by_pinned:
                await self._pulls.do(pinned, work, on_progress)
            if tag and not tag.is_pinned:
                await self._records.name(str(tag), pinned)
            return self._image(self._records.by_pinned[pinned])

    def image(self, pinned: str) -> Image | None:
        """None if it is not here."""
        record = self._records.by_pinned.get(pinned)
        return self._image(record) if record else None

    async def list(self) -> list[Image]:
        """The one used last comes first."""
        self._check_open()
        images = map(self._image, self._records.by_pinned.values())
        return sorted(images, key=lambda each: (-each.used_at, each.pinned))

    def users(self, pinned: str) -> tuple[str, ...]:
        """The ids of the containers that have it."""
        return tuple(sorted(self._users().get(pinned, ())))

    async def remove(self, reference: str) -> Deleted:
        """By a tag or pinned. Raises `WorkloadNotFound`; and `StateError` if it is used."""
        self._check_open()
        named = ImageReference.parse(reference)
        pinned = self._records.pinned_by_name.get(str(named), "")
        if named.is_pinned:
            pinned = str(named.pinned(named.digest))
        if pinned not in self._records.by_pinned:
            raise errors.WorkloadNotFound(f"image {named} is not on this node")
        if users := self.users(pinned):
            raise errors.StateError(f"image {named} is used by {', '.join(users)}: stop that first")
        return await self._room.delete([pinned])

    async def prune(self) -> Deleted:
        """Delete all that nothing uses, and what is left of pulls that were broken off."""
        self._check_open()
        await self._puller.clear_away(self._pulls.keys)
        return await self._room.prune()

    async def collect(self) -> Deleted:
        """Delete what has not been used for longest, if the disk is too full."""
        self._check_open()
        return await self._room.collect()

    async def settle(self) -> None:
        """Have all that was pulled on the disk for good: a power cut takes none of it then."""
        await self._layers.settle()

    async def tend(self) -> None:
        """Settle and collect again and again, for ever."""
        while True:
            await asyncio.sleep(self._tend_seconds)
            if self._is_open:
                await self._room.tend()

    def _check_open(self) -> None:
        if not self._is_open:
            raise errors.StateError(
                "this node's agent has only just started and does not know its images yet: try"
                " again in a moment"
            )

    async def _find(self, pinned: str, shown: str) -> None:
        try:
            await self._puller.find(pinned, shown)
        except errors.RuntimeError as error:
            raise errors.RuntimeError(f"cannot look up image {shown}: {error}") from None

    async def _pull(self, pinned: str, shown: str, tell: Tell) -> ImageRecord:
        if self._slots.locked():
            tell(f"waits to pull {shown} until other images are here")
        try:
            async with self._slots:
                tell(f"pulling {shown}")
                wanted = await self._puller.find(pinned, shown)
                async with self._puller.pulled(wanted, self._room.make_room, tell) as record:
                    await self._records.add(record, self._now())
                return record
        except errors.RuntimeError as error:
            raise errors.RuntimeError(f"cannot pull image {shown}: {error}") from None
        except OSError as error:
            raise errors.RuntimeError(
                f"cannot pull image {shown}: this node's disk fails: {error.strerror or error}"
            ) from None

    def _users(self) -> dict[str, set[str]]:
        users = {pinned: set(ids) for pinned, ids in self._in_use().items()}
        for pinned in +self._starting:
            users.setdefault(pinned, {STARTING})
        return users

    def _image(self, record: ImageRecord) -> Image:
        layers = {each: self._layers.records[each].size_bytes for each in record.layers}
        return Image(
            record.pinned,
            self._records.names_of(record.pinned),
            record.config,
            self._layers.stack(record.layers),
            sum(layers.values()),
            record.created,
            self._records.used_at(record.pinned),
        )


def _not_here(shown: str) -> errors.RuntimeError:
    return errors.RuntimeError(
        f"image {shown} is not on this node, and its pull policy is `never`: bring it here with"
        f" `orc image pull {shown}`, or choose another policy"
    )


def _short(pinned: str) -> str:
    """`app@sha256:0123456789ab`."""
    repository, _, digest = pinned.partition("@sha256:")
    return f"{repository}@sha256:{digest[:12]}"
