"""`orc get`: what there is, as a table, as JSON or YAML, once or as it changes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.columns import Setting, hosts_of
from orchestrator.cli.errors import Misuse
from orchestrator.cli.kinds import Kind, KindParam
from orchestrator.cli.options import (
    all_namespaces_option,
    client_command,
    namespace_option,
    output_option,
    watch_option,
    workload_key,
)
from orchestrator.cli.output import Format, serialized, show
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting, suggesting_workload
from orchestrator.model.workload import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from orchestrator.cli.answers import Listing
    from orchestrator.cli.client import ApiClient


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for. `namespace` None: all of them. Of events, a name is their subject."""

    kind: Kind
    names: tuple[str, ...] = ()
    namespace: str | None = None
    workload: str | None = None
    node: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if (self.workload or self.node) and self.kind is not Kind.INSTANCES:
            raise Misuse("--workload and --node choose among instances only")
        if self.kind is Kind.WORKLOADS and self.names and self.namespace is None:
            raise Misuse(
                "a NAME is looked for in one namespace: leave out -A or say NAMESPACE/NAME"
            )
        if self.kind is Kind.EVENTS and len(self.names) > 1:
            raise Misuse("give one NAME only: events are shown for one subject at a time")


@client_command()
@click.argument("kind", type=KindParam(*Kind))
@click.argument("names", metavar="[NAME]...", nargs=-1)
@namespace_option
@all_namespaces_option
@click.option("--workload", help="Instances of this workload only.")
@click.option("--node", help="Instances on this node only.")
@output_option
@watch_option
@click.pass_obj
def get(
    session: Session,
    *,
    kind: Kind,
    names: tuple[str, ...],
    namespace: str | None,
    all_namespaces: bool,
    workload: str | None,
    node: str | None,
    output: str,
    watch: bool,
) -> None:
    """Show workloads, instances, nodes or events.

    KIND may be short: wl, inst, no, ev. Of events, NAME is the workload, instance or node that
    they are about.
    """
    if workload:
        key = workload_key(workload, namespace)
        namespace, workload = key.namespace, key.name
    chosen = chosen_namespace(kind, namespace, is_all=all_namespaces)
    question = Question(kind, names, chosen, workload, node)
    answer(session, question, Format(output), is_watch=watch)


def chosen_namespace(kind: Kind, namespace: str | None, *, is_all: bool) -> str | None:
    """None: all of them. Events are of all unless one is named: those of nodes are of none."""
    if is_all:
        return None
    return namespace if kind is Kind.EVENTS else namespace or DEFAULT_NAMESPACE


def answer(session: Session, question: Question, form: Format, *, is_watch: bool) -> None:
    if not is_watch:
        session.run(lambda client: _show_now(client, question, form))
        return
    if len(question.names) > 1:
        raise Misuse("--watch shows one NAME or all")
    from orchestrator.cli.watching import watch_on

    session.run(lambda client: watch_on(client, question, form))


async def _show_now(client: ApiClient, question: Question, form: Format) -> None:
    listing = await _fetch(client, question)
    is_single = len(question.names) == 1 and question.kind is not Kind.EVENTS
    if form in {Format.JSON, Format.YAML}:
        click.echo(serialized(listing.items[0] if is_single else listing, form))
    elif listing.items:
        show(question.kind, listing.items, form, await setting_for(client, question))
    else:
        where = f" in namespace {question.namespace}" if question.kind is not Kind.NODES else ""
        click.echo(f"no {question.kind}{where if question.namespace else ''}", err=True)


async def setting_for(client: ApiClient, question: Question) -> Setting:
    is_placed = question.kind is Kind.INSTANCES
    hosts = hosts_of((await client.nodes()).items) if is_placed else {}
    return Setting(time.time(), hosts, shows_namespace=question.namespace is None)


async def _fetch(client: ApiClient, question: Question) -> Listing[Any]:
    if question.kind is Kind.EVENTS:
        return await client.events(
            namespace=question.namespace,
            subject=question.names[0] if question.names else None,
            limit=question.limit,
        )
    if question.names:
        return await _fetch_named(client, question)
    if question.kind is Kind.WORKLOADS:
        return await client.workloads(question.namespace)
    if question.kind is Kind.INSTANCES:
        return await client.instances(
            namespace=question.namespace, workload=question.workload, node=question.node
        )
    return await client.nodes()


async def _fetch_named(client: ApiClient, question: Question) -> Listing[Any]:
    from orchestrator.cli.answers import Listing

    found = [await _fetch_one(client, question, name) for name in question.names]
    return Listing(0, tuple(found))


async def _fetch_one(client: ApiClient, question: Question, name: str) -> Any:
    if question.kind is Kind.WORKLOADS:
        key = workload_key(name, question.namespace)
        async with suggesting_workload(client, key):
            return await client.workload(key)
    async with suggesting(client, question.kind, name):
        return await (client.node(name) if question.kind is Kind.NODES else client.instance(name))
