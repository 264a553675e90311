"""What `orc up` shows: a live table on a terminal, else a line for each change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.client import ApiClient
from orchestrator.model.answers import ClusterSummary
from orchestrator.model.errors import OrchestrationError
from orchestrator.model.node import NodeStatus
from orchestrator.model.views import Node, Workload, WorkloadInstance

LOOK_SECONDS = 1.0
MAX_INSTANCES = 30
"""More do not fit on a screen: `orc get instances` shows them all."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The cluster at one moment."""

    summary: ClusterSummary
    nodes: tuple[Node, ...]
    workloads: tuple[Workload, ...]
    instances: tuple[WorkloadInstance, ...]


class Screen:
    """Where sentences and pictures go. A reader that has gone away ends nothing."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._is_live = False
        self._is_heard = True

    def say(self, sentence: str) -> None:
        if self._is_live:
            self._console.print(sentence, markup=False)
        elif self._is_heard:
            try:
                click.echo(sentence)
            except OSError:
                self._is_heard = False

    async def follow(self, client: ApiClient) -> None:
        """Show the cluster until cancelled."""
        if self._console.is_terminal:
            await self._follow_live(client)
        else:
            await self._follow_plain(client)

    async def _follow_live(self, client: ApiClient) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            self._is_live = True
            try:
                while True:
                    live.update(await _table(client), refresh=True)
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                self._is_live = False

    async def _follow_plain(self, client: ApiClient) -> None:
        before: dict[str, str] = {}
        while True:
            now = await _facts(client, before)
            for line in changes(before, now):
                self.say(line)
            before = now
            await asyncio.sleep(LOOK_SECONDS)


async def _picture(client: ApiClient) -> Picture:
    return Picture(
        await client.cluster(),
        (await client.nodes()).items,
        (await client.workloads()).items,
        (await client.instances()).items,
    )


async def _table(client: ApiClient) -> RenderableType:
    try:
        return as_table(await _picture(client))
    except OrchestrationError as error:
        return Text(f"no answer from the API: {str(error).splitlines()[0]}", style="red")


async def _facts(client: ApiClient, before: dict[str, str]) -> dict[str, str]:
    try:
        return as_facts(await _picture(client))
    except OrchestrationError:
        return {**before, "API": "no answer"}


def as_facts(picture: Picture) -> dict[str, str]:
    """Everything that is worth a line when it changes, by what it is about."""
    leader = picture.summary.leader
    facts = {"API": "answers", "leader": leader.replica if leader else "none"}
    facts |= {f"node {node.name}": node.status.value for node in picture.nodes}
    facts |= {
        f"workload {_name(each)}": f"{each.status.running} of {each.status.desired} running"
        for each in picture.workloads
    }
    facts |= {
        f"instance {each.name}": f"{each.status.value} on {each.node} {_ports(each)}".rstrip()
        for each in picture.instances
    }
    return facts


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    gone = [f"{subject}: gone" for subject in before if subject not in now]
    new = [f"{subject}: {fact}" for subject, fact in now.items() if before.get(subject) != fact]
    return gone + new


def as_table(picture: Picture) -> RenderableType:
    leader = picture.summary.leader
    nodes = Text(f"leader {leader.replica if leader else 'none'}   nodes ")
    for node in picture.nodes:
        style = "green" if node.status is NodeStatus.READY else "red"
        nodes.append(f"{node.name} {node.status.value}  ", style=style)
    workloads = Table("WORKLOAD", "WANTED", "RUNNING", box=None, pad_edge=False)
    for each in picture.workloads:
        workloads.add_row(_name(each), str(each.status.desired), str(each.status.running))
    instances = Table("INSTANCE", "NODE", "STATUS", "PORTS", box=None, pad_edge=False)
    for instance in picture.instances[:MAX_INSTANCES]:
        cells = (instance.name, instance.node, instance.status.value, _ports(instance))
        instances.add_row(*cells)
    more = len(picture.instances) - MAX_INSTANCES
    rest = [Text(f"and {more} more: orc get instances")] if more > 0 else []
    return Group(nodes, Text(), workloads, Text(), instances, *rest)


def _name(workload: Workload) -> str:
    return f"{workload.namespace}/{workload.name}"


def _ports(instance: WorkloadInstance) -> str:
    return " ".join(f"127.0.0.1:{port.host_port}" for port in instance.ports)
