"""`orc logs`: what the containers of a workload or of an instance have written."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from orchestrator.cli.errors import Misuse, NotFound
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import (
    Count,
    Since,
    client_command,
    namespace_option,
    workload_key,
)
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting, suggesting_workload
from orchestrator.cli.targets import is_instance_name

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.answers import LogEntry
    from orchestrator.model.workload import WorkloadKey

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow")


@client_command()
@click.argument("name")
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines as they come.")
@click.option("--tail", type=Count(min=0), help="Only this many of the last lines of each.")
@click.option("--since", type=Since(), help="Only lines from then on: 10m ago, or a time.")
@click.option(
    "-p", "--previous", is_flag=True, help="Of the attempt before it, of which the log is kept."
)
@click.option("-c", "--container", help="Of this container only.")
@click.option("-t", "--timestamps", is_flag=True, help="With the time of each line.")
@click.pass_obj
def logs(
    session: Session,
    *,
    name: str,
    namespace: str | None,
    follow: bool,
    tail: int | None,
    since: float | None,
    previous: bool,
    container: str | None,
    timestamps: bool,
) -> None:
    """Show what a workload or an instance has written.

    Where there are several instances or containers, each line begins with whose it is. Nodes keep
    the log of the last attempt in each slot for some days: with --previous it is shown, and by its
    name an instance that is gone.
    """
    of = name if is_instance_name(name) else workload_key(name, namespace)
    if follow and previous:
        raise Misuse("what is previous is over: leave out --follow")
    asked = _Asked(container, follow, tail, since, previous)

    async def work(client: ApiClient) -> None:
        sources = await _sources(client, of)
        printer = LinePrinter(
            names_instances=sources.instances > 1,
            names_containers=sources.containers > 1 and container is None,
            has_times=timestamps,
        )
        async with _suggesting(client, of), aclosing(_stream(client, of, asked)) as stream:
            async for line in stream:
                printer.show(line)

    session.run(work)


@dataclass(frozen=True, slots=True)
class _Asked:
    container: str | None
    follow: bool
    tail: int | None
    since: float | None
    previous: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """How many instances and, in each, containers may have something to say."""

    instances: int
    containers: int


def _suggesting(client: ApiClient, of: WorkloadKey | str) -> AbstractAsyncContextManager[None]:
    if isinstance(of, str):
        return suggesting(client, Kind.INSTANCES, of)
    return suggesting_workload(client, of)


async def _sources(client: ApiClient, of: WorkloadKey | str) -> Sources:
    if isinstance(of, str):
        try:
            return Sources(1, len((await client.instance(of)).containers))
        except NotFound:  # its log may be there all the same
            return Sources(1, 1)
    async with suggesting_workload(client, of):
        workload = await client.workload(of)
    listing = await client.instances(namespace=of.namespace, workload=of.name)
    spec = workload.spec
    replicas, containers = (spec.replicas, len(spec.containers)) if spec else (0, 1)
    return Sources(max(replicas, len(listing.items)), containers)


def _stream(
    client: ApiClient, of: WorkloadKey | str, asked: _Asked
) -> AsyncGenerator[LogEntry, None]:
    from orchestrator.cli.following import follow_logs

    container, tail, since = asked.container, asked.tail, asked.since
    if asked.follow:
        return follow_logs(client, of, container=container, tail=tail, since=since)
    return client.logs(of, container=container, tail=tail, since=since, previous=asked.previous)


class LinePrinter:
    """Writes lines as they are, after whose they are; a terminal shows each source in a colour."""

    def __init__(self, *, names_instances: bool, names_containers: bool, has_times: bool) -> None:
        self._names_instances = names_instances
        self._names_containers = names_containers
        self._has_times = has_times
        self._colours: dict[str, str] = {}

    def show(self, line: LogEntry) -> None:
        if line.stream == "system":
            click.echo(f"{line.instance}: {line.text}", err=True)
            return
        time = f"{line.time} " if self._has_times else ""
        click.echo(f"{self._prefix(line)}{time}{line.text}", color=True)

    def _prefix(self, line: LogEntry) -> str:
        parts = [line.instance] if self._names_instances else []
        parts += [line.container] if self._names_containers else []
        source = "/".join(parts)
        if not source:
            return ""
        colour = self._colours.setdefault(source, _COLOURS[len(self._colours) % len(_COLOURS)])
        is_seen = sys.stdout.isatty()
        return f"{click.style(source, fg=colour) if is_seen else source} | "
