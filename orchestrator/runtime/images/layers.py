"""The layers on a node: each is unpacked once, whatever images have it.

    layers/<diff_id>/fs          the tree, a lower directory for overlayfs
    layers/<diff_id>/layer.json  what it was unpacked from
    unpacking/<n>/               the same, half made

A layer is there when its directory bears its name: that is given last, in one step. So a killed
agent leaves no half of one. When the machine loses its power, what was written last may be lost in
any order; and to wait for the disk before a container may start would cost seconds. So a layer is
marked with the machine's boot until `settle` knows that it is on the disk, and one that bears the
mark of an earlier boot is not believed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.model import errors
from orchestrator.runtime.images.deleting import Trash
from orchestrator.runtime.images.durable import sync_file_system, write_durably
from orchestrator.runtime.images.joining import Joining
from orchestrator.runtime.images.manifests import Blob
from orchestrator.runtime.images.terms import LayerBounds
from orchestrator.runtime.images.unpacking import unpack
from orchestrator.runtime.programs import Programs
from orchestrator.runtime.supervisor.processes import boot_id


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """`diff_id` is the digest of the archive, `digest` that of the blob in which it came.

    `unsettled_boot` is the id of the boot in which it was unpacked; empty once it is settled.
    """

    diff_id: str
    digest: str
    size_bytes: int
    is_opaque: bool = False
    unsettled_boot: str = ""


_RECORD = TypeAdapter(LayerRecord)


class LayerStore:
    def __init__(
        self,
        root: Path,
        bounds: LayerBounds,
        programs: Programs,
        trash: Trash,
        *,
        unpacks_at_once: int,
    ) -> None:
        self._layers = root / "layers"
        self._unpacking = root / "unpacking"
        self._trash = trash
        self._bounds = bounds
        self._programs = programs
        self._slots = asyncio.Semaphore(unpacks_at_once)
        self._joining: Joining[tuple[str, str], None] = Joining()
        self._records: dict[str, LayerRecord] = {}
        self._held: Counter[str] = Counter()
        self._numbers = itertools.count()

    async def open(self) -> None:
        """Find what is there, and clear away what was being made."""
        await self._trash.throw(*await asyncio.to_thread(self._find))

    @property
    def records(self) -> Mapping[str, LayerRecord]:
        """By diff_id."""
        return self._records

    def unpacked_from(self, digest: str) -> LayerRecord | None:
        """The layer that has come in that blob."""
        return next((each for each in self._records.values() if each.digest == digest), None)

    def stack(self, diff_ids: Iterable[str]) -> tuple[Path, ...]:
        """Lower directories for overlayfs, topmost first, of layers given lowest first.

        Of a layer that is there twice the upper one hides all of the lower, and overlayfs takes
        no directory twice. What is under a layer that hides all of it is left out: of a root
        directory, overlayfs does not see the mark.
        """
        stacked: dict[str, None] = {}
        for diff_id in reversed(list(diff_ids)):
            stacked[diff_id] = None
            if self._records[diff_id].is_opaque:
                break
        return tuple(self._directory(each) / "fs" for each in stacked)

    @contextmanager
    def holding(self, diff_ids: Collection[str]) -> Iterator[None]:
        """Nothing of it is deleted meanwhile, if no image has it yet."""
        self._held.update(diff_ids)
        try:
            yield
        finally:
            self._held.subtract(diff_ids)

    async def add(self, blob: Blob, file: Path, diff_id: str) -> None:
        """Unpack `file`, unless that blob is known to hold that layer.

        Raises `RuntimeError` with what is wrong with it. A layer that is here is given to nobody
        who only knows its name: whoever brings another blob for it must have it, too.
        """

        async def work(_tell: object) -> None:
            async with self._slots:
                await self._add(blob, file, diff_id)

        known = self.unpacked_from(blob.digest)
        if known is None:
            await self._joining.do((diff_id, blob.digest), work, lambda _: None)
        elif known.diff_id != diff_id:
            raise _is_another(blob, known.diff_id, diff_id)

    async def discard(self, wanted: Collection[str]) -> int:
        """Delete all but those, and those that are held. Returns how many bytes they had."""
        surplus = [each for each in self._records if each not in wanted and not self._held[each]]
        freed = sum(self._records.pop(each).size_bytes for each in surplus)
        await self._trash.throw(*map(self._directory, surplus))
        return freed

    async def settle(self) -> None:
        """Have all of it on the disk for good. Raises `RuntimeError`."""
        unsettled = [each for each in self._records.values() if each.unsettled_boot]
        if not unsettled:
            return
        await sync_file_system(self._layers, self._programs)
        for record in unsettled:
            if self._records.get(record.diff_id) is record:
                settled = self._records[record.diff_id] = replace(record, unsettled_boot="")
                await asyncio.to_thread(self._note_settled, settled)

    def _note_settled(self, record: LayerRecord) -> None:
        with suppress(FileNotFoundError):  # it is being deleted
            path = self._directory(record.diff_id) / "layer.json"
            write_durably(path, _RECORD.dump_json(record))

    async def _add(self, blob: Blob, file: Path, diff_id: str) -> None:
        making = self._unpacking / f"{next(self._numbers)}"
        try:
            await asyncio.to_thread(_make_empty, making)
            found = await unpack(file, blob.digest, making / "fs", self._bounds, self._programs)
            if found.diff_id != diff_id:
                raise _is_another(blob, found.diff_id, diff_id)
            if diff_id not in self._records:  # it may have come in another blob meanwhile
                self._keep(
                    making,
                    LayerRecord(diff_id, blob.digest, found.size_bytes, found.is_opaque, boot_id()),
                )
        finally:
            await self._trash.throw(making)

    def _keep(self, making: Path, record: LayerRecord) -> None:
        (making / "layer.json").write_bytes(_RECORD.dump_json(record))
        making.rename(self._directory(record.diff_id))
        self._records[record.diff_id] = record

    def _find(self) -> list[Path]:
        """Returns what is not whole."""
        for each in (self._layers, self._unpacking):
            each.mkdir(exist_ok=True)
        unfit = list(self._unpacking.iterdir())
        for directory in self._layers.iterdir():
            record = _read(directory)
            if record is None or not self._is_whole(record, directory):
                unfit.append(directory)
            else:
                self._records[record.diff_id] = record
        return unfit

    def _is_whole(self, record: LayerRecord, directory: Path) -> bool:
        is_named = directory == self._directory(record.diff_id)
        return is_named and record.unsettled_boot in {"", boot_id()}

    def _directory(self, diff_id: str) -> Path:
        return self._layers / _hexadecimal(diff_id)


def _is_another(blob: Blob, found: str, told: str) -> errors.RuntimeError:
    return errors.RuntimeError(
        f"its layer {blob.digest[:19]} is not what its config says: it unpacks to {found}, and"
        f" should to {told}"
    )


def _hexadecimal(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _make_empty(making: Path) -> None:
    making.mkdir()
    tree = making / "fs"
    tree.mkdir()
    tree.chmod(0o755)  # of the root directory, if the layer does not say


def _read(directory: Path) -> LayerRecord | None:
    """None if it is damaged: only a failing disk can have done that."""
    try:
        return _RECORD.validate_json((directory / "layer.json").read_bytes())
    except (OSError, ValidationError):
        return None
