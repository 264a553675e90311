"""A replica's API below its HTTP: what clients ask is carried out within the replica's process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.api.problems import problem_of
from orchestrator.api.writer import DesiredWriter
from orchestrator.cluster.view import ClusterView
from orchestrator.model.answers import Written
from orchestrator.model.errors import OrchestrationError
from store.errors import StoreError

Act = Callable[[DesiredWriter], Awaitable[Written]]

CLIENT_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is HTTP's; 0 if there was no answer, as when the replica has died."""

    status: int
    written: Written | None = None
    problem: str = ""

    @property
    def is_refusal(self) -> bool:
        """Surely nothing was done."""
        return 400 <= self.status < 500 or self.status == 503


class Desk:
    """`serve` runs as a part of the replica; `ask` is the client's side, and outlives it."""

    def __init__(self, view: ClusterView, writer: DesiredWriter) -> None:
        self._view = view
        self._writer = writer
        self._asked: asyncio.Queue[tuple[Act, asyncio.Future[Answer]]] = asyncio.Queue()

    async def serve(self) -> None:
        await self._view.synced()
        async with asyncio.TaskGroup() as tasks:
            while True:
                act, answer = await self._asked.get()
                tasks.create_task(self._carry_out(act, answer))

    async def ask(self, act: Act) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((act, answer))
        try:
            async with asyncio.timeout(CLIENT_PATIENCE_SECONDS):
                return await answer
        except TimeoutError:
            return Answer(0, problem="no answer")

    async def _carry_out(self, act: Act, answer: asyncio.Future[Answer]) -> None:
        try:
            told = Answer(200, await act(self._writer))
        except (OrchestrationError, StoreError) as error:
            problem = problem_of(error)
            told = Answer(problem.status, problem=problem.detail)
        if not answer.done():
            answer.set_result(told)
