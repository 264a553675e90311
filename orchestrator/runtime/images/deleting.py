"""Deleting trees that others have made, however large or deep."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.programs import Programs

LIMIT_SECONDS = 600.0


class Trash:
    """A directory on the same file system: what is thrown into it is out of the way at once."""

    def __init__(self, path: Path, programs: Programs) -> None:
        self._path = path
        self._programs = programs
        self._numbers = itertools.count()

    async def open(self) -> None:
        """What an earlier agent has left in it is deleted. Raises `RuntimeError`."""
        await asyncio.to_thread(self._path.mkdir, exist_ok=True)
        await self._delete(list(self._path.iterdir()))

    async def throw(self, *trees: Path) -> None:
        """All of them are out of the way before anything is awaited, and deleted when it returns.
        One that is not there has been thrown away already. Raises `RuntimeError`."""
        thrown = [self._put(tree) for tree in trees if tree.exists()]
        await self._delete(thrown)

    def _put(self, tree: Path) -> Path:
        return tree.rename(self._path / f"{next(self._numbers)}")

    async def _delete(self, trees: Sequence[Path]) -> None:
        """By rm(1), which needs no stack for deep trees and none of the agent's time."""
        if not trees:
            return
        program = shutil.which("rm", path=self._programs.path) or "rm"
        argv = [program, "-rf", "--", *map(str, trees)]
        try:
            ended = await self._programs.run(argv, b"", LIMIT_SECONDS)
        except (TimeoutError, OSError) as error:
            told = str(error) or f"it takes longer than {LIMIT_SECONDS:g} seconds"
            raise errors.RuntimeError(f"{trees[0]} cannot be deleted: {told}") from None
        if ended.status:
            raise errors.RuntimeError(ended.complaint or f"{trees[0]} cannot be deleted")
