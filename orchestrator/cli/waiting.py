"""`--wait`: until what was asked for is done, or the time allowed is over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import NoReturn, TypeVar

import click

from orchestrator.cli.answers import WatchEvent
from orchestrator.cli.client import ApiClient
from orchestrator.cli.columns import desired_replicas, duration_text
from orchestrator.cli.errors import NotFound, Refused, ServerUnreachable, WaitTimeout
from orchestrator.cli.following import follow_watch
from orchestrator.model.answers import WatchType
from orchestrator.model.node import Availability
from orchestrator.model.views import Node, Workload
from orchestrator.model.workload import WorkloadKey

T = TypeVar("T")

LOOK_SECONDS = 1.0

Gap = Callable[[T | None], str]
"""What is still missing, in words; empty when nothing is."""


def gap_to_running(workload: Workload | None) -> str:
    """What keeps a workload from running as wanted: all replicas, all of the newest generation,
    and nothing else left. Raises `NotFound` if it is not wanted any more."""
    if workload is None or workload.is_deleting:
        raise NotFound("the workload was deleted in the meantime")
    status, wanted = workload.status, desired_replicas(workload)
    if (status.generation, status.desired) != (workload.generation, wanted):
        return "the leader has not taken it up yet"
    if status.updated < wanted:
        told = f"{status.updated} of {wanted} replicas run"
        return "; ".join([told, *status.waiting[:1]])
    leftover = status.running - wanted + status.pending + status.stopping
    return f"instances still to be stopped: {leftover}" if leftover > 0 else ""


def gap_to_gone(workload: Workload | None) -> str:
    """What is left of a deleted workload."""
    if workload is None:
        return ""
    status = workload.status
    count = status.running + status.pending + status.failed + status.stopping
    return f"instances left: {count}"


def gap_to_empty(node: Node | None) -> str:
    """What is left on a node that is drained. Raises `Refused` if it is not drained any more."""
    if node is None:
        return ""
    if node.availability is not Availability.DRAINING:
        raise Refused(f"node {node.name} is {node.availability} again: its drain was ended")
    return f"instances left: {node.instances}" if node.instances else ""


async def stayers(client: ApiClient, node: str) -> tuple[str, ...]:
    """What the leader says of each instance on a node that cannot leave it as it should."""
    there = (await client.instances(node=node)).items
    keys = sorted({(each.namespace, each.workload) for each in there})
    workloads = [await client.workload(WorkloadKey(*key)) for key in keys]
    names = {each.name for each in there}
    told = [sentence for each in workloads for sentence in each.status.waiting]
    return tuple(sentence for sentence in told if sentence.partition(" ")[0] in names)


@contextmanager
def progress_shown() -> Iterator[Callable[[str], None]]:
    """A function to call with how it stands: on standard error, as one living line where a
    person looks on, else as a line for each change."""
    if not sys.stderr.isatty():
        yield lambda sentence: click.echo(sentence, err=True)
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("waiting") as line:
        yield lambda sentence: line.update(escape(sentence))


async def wait_for(
    client: ApiClient, keys: Sequence[WorkloadKey], seconds: float, *, gone: bool
) -> None:
    """Until all of them run or, with `gone`, until nothing is left of them; then say so.

    Raises `WaitTimeout`, and `NotFound` for one that is deleted before it runs.
    """
    with progress_shown() as say:
        wait = Wait(client, seconds, say)
        ends = [await (wait.until_gone(key) if gone else wait.until_running(key)) for key in keys]
    for key, end in zip(keys, ends, strict=True):
        click.echo(f"workload {key} is {end}")


async def wait_for_drain(client: ApiClient, node: str, seconds: float) -> None:
    """Until nothing is assigned to the node; then say so.

    Raises `WaitTimeout`, and `Refused` if the drain is ended before.
    """
    with progress_shown() as say:
        await Wait(client, seconds, say).until_empty(node)
    click.echo(f"node {node} is drained")


class Wait:
    """Several waits under one limit, which begins now. `say` is told how each one stands."""

    def __init__(self, client: ApiClient, seconds: float, say: Callable[[str], None]) -> None:
        self._client = client
        self._seconds = seconds
        self._say = say
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._stayers: tuple[str, ...] = ()

    async def until_running(self, key: WorkloadKey) -> str:
        """What it is then: running, or scaled to 0. Raises `WaitTimeout`, and `NotFound` if it is
        deleted in the meantime."""
        wanted = 1

        def gap(workload: Workload | None) -> str:
            nonlocal wanted
            missing = gap_to_running(workload)
            wanted = desired_replicas(workload) if workload else wanted
            return missing

        await self._until_workload(key, gap)
        return "running" if wanted else "scaled to 0"

    async def until_gone(self, key: WorkloadKey) -> str:
        """What it is then: gone. Raises `WaitTimeout`."""
        await self._until_workload(key, gap_to_gone)
        return "gone"

    async def until_empty(self, node: str) -> None:
        """Raises `WaitTimeout`, and `Refused` if the node is not to be drained any more."""
        states = _states(follow_watch(self._client, Node, name=node))
        telling = asyncio.create_task(self._tell_stayers(node))
        try:
            await self._until(f"node {node}", states, gap_to_empty)
        except WaitTimeout as over:
            raise WaitTimeout("; ".join([str(over), *self._stayers])) from None
        finally:
            telling.cancel()

    async def _tell_stayers(self, node: str) -> NoReturn:
        """Say of those that have not left why they may not; a watch of the node tells nothing."""
        while True:
            with suppress(NotFound, Refused, ServerUnreachable):
                told = await stayers(self._client, node)
                if told and told != self._stayers:
                    self._say(f"node {node}: {'; '.join(told)}")
                self._stayers = told
            await asyncio.sleep(LOOK_SECONDS)

    async def _until_workload(self, key: WorkloadKey, gap_of: Gap[Workload]) -> None:
        states = _states(
            follow_watch(self._client, Workload, namespace=key.namespace, name=key.name)
        )
        await self._until(f"workload {key}", states, gap_of)

    async def _until(
        self, subject: str, states: AsyncGenerator[T | None, None], gap_of: Gap[T]
    ) -> None:
        gap = "nothing was heard of it"
        try:
            async with asyncio.timeout_at(self._deadline), aclosing(_gaps(states, gap_of)) as gaps:
                async for gap in gaps:
                    self._say(f"{subject}: {gap}")
        except TimeoutError:
            waited = duration_text(self._seconds)
            raise WaitTimeout(f"{subject}: {gap}, after waiting for {waited}") from None


async def _gaps(
    states: AsyncGenerator[T | None, None], gap_of: Gap[T]
) -> AsyncGenerator[str, None]:
    """Each new gap, until there is none."""
    last = ""
    async with aclosing(states):
        async for state in states:
            if not (gap := gap_of(state)):
                return
            if gap != last:
                yield gap
            last = gap


async def _states(events: AsyncGenerator[WatchEvent[T], None]) -> AsyncGenerator[T | None, None]:
    """The one object of a watch as it comes to be; None while there is none."""
    current: T | None = None
    is_listed = False
    async with aclosing(events):
        async for event in events:
            is_listed = is_listed or event.type is WatchType.SYNC
            current = current if event.type is WatchType.SYNC else event.object
            if is_listed:
                yield current
