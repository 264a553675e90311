"""The kernel's mounts: to make one, to take it away for sure, and to see which there are.

mount(2) is called directly where no program is needed for it: that is a thousand times quicker,
and takes an open file for what is mounted. Nothing here touches what a mount leads to: a server
that is gone would keep us waiting for ever.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from orchestrator.model import errors
from orchestrator.runtime import syscalls
from orchestrator.runtime.volumes.uninterrupted import uninterrupted

log = structlog.get_logger()

FLAGS = {
    "ro": 1 << 0,
    "nosuid": 1 << 1,
    "nodev": 1 << 2,
    "noexec": 1 << 3,
    "sync": 1 << 4,
    "noatime": 1 << 10,
    "nodiratime": 1 << 11,
    "relatime": 1 << 21,
}
"""The options that mount(2) takes as bits; `exec` is the absence of one."""

_MS_PRIVATE = 1 << 18
_UMOUNT_NOFOLLOW = 8

_PROGRAM_DIRS = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where `mount.nfs` is, which is not on everybody's PATH."""

UNMOUNT_SECONDS = 10.0
"""How long a server may take to see that we go, before we go all the same."""

KILLED_SECONDS = 1.0
"""For a killed program to be gone; one that hangs in the kernel is left behind."""


def bind(source: int, target: Path) -> None:
    """Mount what `source` has open (O_PATH will do), with all that is mounted below it, on
    `target`. What is mounted there later, on either side, stays on its side. `OSError` passes."""
    flags = syscalls.MS_BIND | syscalls.MS_REC
    syscalls.mount(f"/proc/self/fd/{source}", str(target), "", flags, "")
    syscalls.mount("", str(target), "", _MS_PRIVATE | syscalls.MS_REC, "")


def mount_memory(target: Path, flags: Sequence[str], options: Sequence[str]) -> None:
    """A tmpfs. `OSError` passes."""
    bits = sum({FLAGS[each] for each in flags})
    syscalls.mount("tmpfs", str(target), "tmpfs", bits, ",".join(options))


async def mount_nfs(
    program: str, source: str, target: Path, options: Sequence[str], timeout_seconds: float
) -> None:
    """By nfs-utils' own program, called as mount(8) does. Raises `RuntimeError`."""
    path = f"{os.environ.get('PATH', '')}:{_PROGRAM_DIRS}"
    if (found := shutil.which(program, path=path)) is None:
        raise errors.RuntimeError(
            "this node cannot mount NFS: install its client there (nfs-common, or nfs-utils)"
        )
    try:
        await run([found, source, str(target), "-o", ",".join(options)], timeout_seconds)
    except TimeoutError:
        raise errors.RuntimeError(
            f"{source} was not mounted within {timeout_seconds:g} s: see that the server runs,"
            " and that this node can reach it"
        ) from None
    except errors.RuntimeError as error:
        raise errors.RuntimeError(f"{source} cannot be mounted: {error}") from None


def mounts_below(path: Path, table: Path = Path("/proc/self/mountinfo")) -> dict[Path, str]:
    """All mounts at `path` and below it, with their kinds (`nfs4`); the deepest come first."""
    found: dict[Path, str] = {}
    for line in table.read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        target = Path(_unescaped(fields[4]))
        if target == path or path in target.parents:
            found[target] = fields[fields.index("-") + 1]  # of those on one another, the uppermost
    return {each: found[each] for each in sorted(found, key=_depth, reverse=True)}


def _depth(path: Path) -> int:
    return len(path.parts)


def _unescaped(text: str) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


async def unmount_all(path: Path) -> None:
    """Take away every mount at `path` and below it. `OSError` passes.

    A server is told in order, if it listens. Else, and for all other kinds, the mount is gone from
    the tree at once, and wholly when nobody uses it any more.
    """
    while mounts := mounts_below(path):
        for target, kind in mounts.items():
            if kind.startswith("nfs") and await _unmount_in_order(target):
                continue
            await uninterrupted(detach, target)


def detach(target: Path) -> None:
    """Take a mount away from the tree, in use or not, unless it is gone by now: an `umount` that
    waits for a server in vain has done that already. `OSError` passes."""
    try:
        syscalls.unmount(str(target), syscalls.MNT_DETACH | _UMOUNT_NOFOLLOW)
    except OSError:
        if target in mounts_below(target):
            raise


async def _unmount_in_order(target: Path) -> bool:
    try:
        await run(["umount", "--no-canonicalize", str(target)], UNMOUNT_SECONDS)
    except (errors.RuntimeError, TimeoutError) as error:
        log.warning("unmounted lazily", path=str(target), problem=str(error) or "no answer")
        return False
    return True


async def run(arguments: Sequence[str], timeout_seconds: float) -> None:
    """Run a program that may hang. Raises `RuntimeError` with its own last words, and
    `TimeoutError`; then it has been killed, with all that it has started."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            _, said = await process.communicate()
    except (TimeoutError, asyncio.CancelledError):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(KILLED_SECONDS):
                await process.wait()
        raise
    if process.returncode != 0:
        words = said.decode(errors="replace").strip().splitlines()
        raise errors.RuntimeError(words[-1] if words else f"{arguments[0]} failed without a word")
