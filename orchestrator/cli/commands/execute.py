"""`orc exec` and `orc attach`: into a container that runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.errors import Misuse
from orchestrator.cli.options import client_command, namespace_option
from orchestrator.cli.session import Session
from orchestrator.cli.targets import find_container

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient

stdin_option = click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
tty_option = click.option("-t", "--tty", is_flag=True, help="With a terminal: this one.")
container_option = click.option(
    "-c", "--container", help="In this container; without it, the first."
)


@client_command("exec")
@click.argument("name", metavar="INSTANCE|WORKLOAD")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@namespace_option
@container_option
@stdin_option
@tty_option
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable more.")
@click.option("-w", "--workdir", default="", help="Where it runs, in the container.")
@click.option("-u", "--user", default="", help="As whom: user[:group].")
@click.pass_obj
def execute(
    session: Session,
    *,
    name: str,
    command: tuple[str, ...],
    namespace: str | None,
    container: str | None,
    stdin: bool,
    tty: bool,
    env: tuple[str, ...],
    workdir: str,
    user: str,
) -> int:
    """Run a command in a container that runs.

    Of a workload, that is its first instance that runs. The command has the container's
    environment, and is killed when orc ends before it. Its exit code is orc's, and as in a shell
    127 is for one that is not found and 126 for one that cannot be run.
    """
    request = {
        "argv": command,
        "env": _variables(env, tty=tty),
        "working_dir": workdir,
        "user": user,
        "tty": tty,
        "stdin": stdin,
    }
    _require_terminal(tty=tty)

    async def work(client: ApiClient) -> int:
        from orchestrator.cli.conversing import converse

        instance, chosen = await find_container(client, name, namespace, container)
        async with client.execute(instance, request | _size(tty=tty), chosen) as conversation:
            return await converse(conversation, stdin=stdin, tty=tty)

    return session.run(work)


@client_command()
@click.argument("name", metavar="INSTANCE|WORKLOAD")
@namespace_option
@container_option
@stdin_option
@tty_option
@click.pass_obj
def attach(
    session: Session,
    *,
    name: str,
    namespace: str | None,
    container: str | None,
    stdin: bool,
    tty: bool,
) -> int:
    """Show what a container writes from now on.

    It ends when the container ends, with its exit code. Ctrl-C lets go of it; where that goes to
    the container (-it), Ctrl-P Ctrl-Q does. The container goes on. What it wrote before is in
    `orc logs`.
    """
    _require_terminal(tty=tty)

    async def work(client: ApiClient) -> int:
        from orchestrator.cli.conversing import converse

        instance, chosen = await find_container(client, name, namespace, container)
        async with client.attach(instance, chosen, stdin=stdin) as conversation:
            return await converse(conversation, stdin=stdin, tty=tty, can_detach=True)

    return session.run(work)


def _require_terminal(*, tty: bool) -> None:
    from orchestrator.cli.terminal import is_terminal

    if tty and not is_terminal():
        raise Misuse("--tty needs a terminal as standard input, and this is none: leave it out")


def _size(*, tty: bool) -> dict[str, Any]:
    from orchestrator.cli.terminal import terminal_size

    if not tty:
        return {}
    size = terminal_size()
    return {"rows": size.rows, "columns": size.columns}


def _variables(given: tuple[str, ...], *, tty: bool) -> dict[str, str]:
    """A program on our terminal has to know of which kind it is."""
    terminal = os.environ.get("TERM", "")
    variables = {"TERM": terminal} if tty and terminal else {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise Misuse(f"--env {each!r} is no variable: write NAME=VALUE")
        variables[name] = value
    return variables
