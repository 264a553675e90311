"""Lives of an agent that is killed again and again, one after the other; see `soak_agent`."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.runtime.protocol import ContainerStatus
from tests.support.soak_agent import MAX_LINE_BYTES, STATUSES
from tests.support.soak_containers import MARK

READY_SECONDS = 90.0
ANSWER_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 0.01

EARLY_DEATHS = 0.3
"""The share of lives that end while the agent gets ready, or a moment after."""
GETTING_READY_SECONDS = 2.0
LONGEST_LIFE_SECONDS = 6.0
DEATHS_OF_A_GROUP = 0.4


class AgentDied(Exception):
    """Before it has answered."""


class Life:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.is_killed = False
        self._process = process
        self._numbers = itertools.count(1)
        self._found = _unanswered()
        self._answers = {0: self._found}
        self._listening = asyncio.create_task(self._listen())

    async def found(self) -> tuple[ContainerStatus, ...]:
        """By the time that it is ready. Raises `AgentDied`."""
        async with asyncio.timeout(READY_SECONDS):
            answer = await self._found
        return STATUSES.validate_python(answer["found"])

    async def ask(self, what: str, **fields: Any) -> Any:
        """Raises `AgentDied`."""
        if self._listening.done():
            raise AgentDied
        number = next(self._numbers)
        answer = self._answers[number] = _unanswered()
        order = json.dumps({"number": number, "do": what, **fields})
        self._input.write(f"{order}\n".encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            return await answer

    def kill(self, *, with_group: bool) -> None:
        self.is_killed = True
        with suppress(ProcessLookupError):
            (os.killpg if with_group else os.kill)(self._process.pid, signal.SIGKILL)

    async def finish(self) -> int:
        """Let it end by itself: it has no more orders."""
        self._input.close()
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code, -n for signal n."""
        await asyncio.wait([self._listening])
        self._listening.result()
        return await self._process.wait()

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None
        return self._process.stdin

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while (line := await self._process.stdout.readline()).endswith(b"\n"):
                answer = json.loads(line)
                self._answers.pop(answer["number"]).set_result(answer)
        finally:
            for each in self._answers.values():
                each.set_exception(AgentDied())
                each.exception()  # who has given up asking is not told that nobody answered


def _unanswered() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


class Lives:
    """`look` is given what each life has found, as soon as it is ready. `mark` is in the
    environment of whatever they start, and `log` is the file of what they have to say."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        mark: str,
        log: Path,
        rng: Random,
        look: Callable[[tuple[ContainerStatus, ...]], None],
    ) -> None:
        self._settings = json.dumps(settings)
        self._environment = {**os.environ, MARK: mark}
        self._log = log
        self._rng = rng
        self._look = look
        self._life: Life | None = None
        self._ready: Life | None = None
        self.count = 0

    async def ask(self, what: str, **fields: Any) -> Any:
        """Of whoever lives: what one life has not answered, the next is asked again."""
        while True:
            with suppress(AgentDied):
                return await self.ask_once(what, **fields)
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def ask_once(self, what: str, **fields: Any) -> Any:
        """Of the life that is ready next. Raises `AgentDied`; it may be done all the same."""
        while (life := self._ready) is None:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return await life.ask(what, **fields)

    async def die_again_and_again(self, until: Callable[[], bool]) -> None:
        while not until():
            life = await self._begin()
            death = self._doom(life)
            with suppress(AgentDied):
                await self._get_ready(life)
            code = await life.ended()
            death.cancel()
            self._ready = None
            assert life.is_killed, f"the agent has ended by itself ({code}): {self.last_words()}"

    async def live_on(self) -> None:
        """The last life, which nobody ends."""
        await self._get_ready(await self._begin())

    async def finish(self) -> int:
        """Of the last life: its exit code."""
        assert self._ready is not None
        return await self._ready.finish()

    def close(self) -> None:
        if self._life is not None:
            self._life.kill(with_group=True)

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-5000:]

    async def _begin(self) -> Life:
        self.count += 1
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.soak_agent", self._settings),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                limit=MAX_LINE_BYTES,
                start_new_session=True,
            )
        self._life = Life(process)
        return self._life

    async def _get_ready(self, life: Life) -> None:
        self._look(await life.found())
        self._ready = life

    def _doom(self, life: Life) -> asyncio.TimerHandle:
        is_early = self._rng.random() < EARLY_DEATHS
        longest = GETTING_READY_SECONDS if is_early else LONGEST_LIFE_SECONDS
        with_group = self._rng.random() < DEATHS_OF_A_GROUP
        kill = functools.partial(life.kill, with_group=with_group)
        return asyncio.get_running_loop().call_later(self._rng.uniform(0, longest), kill)
