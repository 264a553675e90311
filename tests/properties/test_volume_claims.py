"""A volume with one writer is never had by two instances, wherever the agent is killed.

A life of the agent is an event loop of its own: it ends in good order, or in the middle of what it
does, some steps after that was begun. Containers go on, and end when they like. What the files say
is held against what really runs.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model import errors
from orchestrator.model.instance import InstanceName
from orchestrator.runtime.volumes.local import FirstUse
from orchestrator.runtime.volumes.node_volumes import NodeVolumes
from tests.support.volumes import LOCAL, Node, spec_with

SLOT_ATTEMPTS = 3
OWNER = FirstUse(os.getuid(), os.getgid())
ATTEMPTS = st.integers(1, SLOT_ATTEMPTS)
ACTIONS = st.one_of(
    st.tuples(st.just("start"), ATTEMPTS),
    st.tuples(st.just("end"), ATTEMPTS),
    st.tuples(st.just("vanish"), ATTEMPTS),
    st.tuples(st.just("delete"), st.just(0)),
)
LIVES = st.lists(
    st.tuples(st.lists(ACTIONS, max_size=6), ACTIONS, st.integers(0, 12)), min_size=1, max_size=6
)


class Machine:
    """`running` is what really runs, and the truth."""

    def __init__(self, root: Path) -> None:
        self.node = Node(root)
        self.running = self.node.alive

    async def act(self, volumes: NodeVolumes, action: tuple[str, int]) -> None:
        kind, attempt = action
        spec = spec_with(LOCAL, instance=str(InstanceName("default", "web", 0, attempt)))
        if kind == "start":
            await self._start(volumes, spec.id, lambda: volumes.mounts(spec, OWNER))
        elif kind == "end":
            self.running.discard(spec.id)
            await volumes.release(spec.id)
        elif kind == "vanish":
            self.running.discard(spec.id)
        else:
            await self._delete(volumes)

    async def _start(
        self,
        volumes: NodeVolumes,
        container: str,
        mount: Callable[[], Coroutine[Any, Any, list[dict[str, Any]]]],
    ) -> None:
        if container in self.running:
            return
        others = set(self.running)
        try:
            await mount()
        except errors.RuntimeError:
            return
        assert others == set()
        await asyncio.sleep(0)  # here, too, an agent may be killed: nothing has been started yet
        self.running.add(container)
        assert volumes.names() != []

    async def _delete(self, volumes: NodeVolumes) -> None:
        try:
            await volumes.remove("default.web.0.db")
        except errors.StateError:
            return
        except errors.WorkloadNotFound:
            return
        assert self.running == set()

    async def live(self, actions: list[tuple[str, int]], last: tuple[str, int], steps: int) -> None:
        volumes = self.node.begin()
        await volumes.sweep(set(self.running))
        for action in actions:
            await self.act(volumes, action)
        killed = asyncio.create_task(self.act(volumes, last))
        for _ in range(steps):
            await asyncio.sleep(0)
        killed.cancel()
        with suppress(asyncio.CancelledError):
            await killed


@given(LIVES)
@settings(max_examples=60)
def test_one_writer_is_one_whenever_the_agent_is_killed(
    lives: list[tuple[list[tuple[str, int]], tuple[str, int], int]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory, "volumes"))
        for actions, last, steps in lives:
            asyncio.run(machine.live(actions, last, steps))
            assert len(machine.running) <= 1
