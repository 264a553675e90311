"""Our iptables rules: one run of iptables-restore for all callers of a moment."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable

from orchestrator.model import errors
from orchestrator.runtime.network.records import Publication, Way
from orchestrator.runtime.network.rules import (
    Chains,
    ground_text,
    jumps_text,
    ports_text,
    removal_text,
)
from orchestrator.runtime.programs import Programs

TIMEOUT_SECONDS = 20.0
LOCK_SECONDS = 10
"""How long the programs themselves wait for others of their kind."""


class Firewall:
    """`own` is the way of our own bridge; None where an operator's plugins make the network.

    Changes are committed in groups: while one batch runs, the next collects. What a batch leaves
    is what is wanted when it begins, whatever the kernel had before.
    """

    def __init__(self, programs: Programs, chains: Chains, own: Way | None) -> None:
        self._programs = programs
        self._chains = chains
        self._own = own
        self._wanted: dict[str, Publication] = {}
        self._committed: dict[str, Publication] | None = None
        """What the kernel has; None when that is not certain."""
        self._turn = asyncio.Lock()
        self._changes = 0
        self._answered = 0
        self._failure: str | None = None

    async def open(self, published: Iterable[Publication]) -> None:
        """Have these and no others. Raises `RuntimeError`."""
        self._wanted = {each.container_id: each for each in published}
        await self._commit()
        saved = await self._run("iptables-save", b"")
        if jumps := jumps_text(self._chains, saved):
            await self._run("iptables-restore", jumps.encode(), "--noflush")

    async def publish(self, publication: Publication) -> None:
        """Raises `RuntimeError`, and nothing is published then."""
        self._wanted[publication.container_id] = publication
        try:
            await self._commit()
        except errors.RuntimeError:
            del self._wanted[publication.container_id]
            raise

    async def withdraw(self, container_id: str) -> None:
        """Raises `RuntimeError`; the next batch takes it away then."""
        if self._wanted.pop(container_id, None) is not None:
            await self._commit()

    async def remove(self, chains: Chains) -> None:
        """All that is there of chains that nobody needs any more. Raises `RuntimeError`."""
        saved = await self._run("iptables-save", b"")
        if text := removal_text(chains, saved):
            await self._run("iptables-restore", text.encode(), "--noflush")

    async def _commit(self) -> None:
        """Return when a batch that began after this call has ended."""
        self._changes += 1
        mine = self._changes
        async with self._turn:
            if self._answered < mine:
                covered = self._changes
                self._failure = await self._attempt()
                self._answered = covered
            if self._failure is not None:
                raise errors.RuntimeError(self._failure)

    async def _attempt(self) -> str | None:
        """Why it failed, if it did: all who wait for this batch are told."""
        wanted, before = dict(self._wanted), self._committed
        self._committed = None
        try:
            await self._run("iptables-restore", self._batch(before, wanted).encode(), "--noflush")
        except errors.RuntimeError as failure:
            return str(failure)
        self._committed = wanted
        return None

    def _batch(self, before: dict[str, Publication] | None, wanted: dict[str, Publication]) -> str:
        if before is None:
            before, only_adds, same_ways = {}, False, False
        else:
            only_adds = before.items() <= wanted.items()
            same_ways = _ways(before) == _ways(wanted)
        added = [each for name, each in wanted.items() if name not in before]
        text = "" if same_ways else ground_text(self._chains, self._own, _ways(wanted))
        if only_adds:
            return text + ports_text(self._chains, added, anew=False)
        return text + ports_text(self._chains, wanted.values(), anew=True)

    async def _run(self, name: str, given: bytes, *options: str) -> str:
        """The output. Raises `RuntimeError`."""
        program = shutil.which(name, path=self._programs.path)
        if program is None:
            raise errors.RuntimeError(f"there is no {name} on this machine: install iptables")
        wait = ("--wait", str(LOCK_SECONDS)) if name == "iptables-restore" else ()
        try:
            ended = await self._programs.run([program, *wait, *options], given, TIMEOUT_SECONDS)
        except TimeoutError:
            raise errors.RuntimeError(
                f"{name} has not finished within {TIMEOUT_SECONDS:g} seconds and was killed"
            ) from None
        except OSError as failure:
            raise errors.RuntimeError(f"{program} cannot be run: {failure.strerror}") from failure
        if ended.status != 0:
            said = ended.complaint.splitlines()[:1] or [f"exit code {ended.status}"]
            raise errors.RuntimeError(f"{name} has failed: {said[0]}")
        return ended.output.decode(errors="replace")


def _ways(published: dict[str, Publication]) -> set[Way]:
    return {each.way for each in published.values()}
