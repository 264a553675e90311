"""`orc`: the client's commands, and those that run the parts of a cluster."""

from __future__ import annotations

import click

from orchestrator.cli.app import orc
from orchestrator.entry.lazy import LazyCommand


def _up() -> click.Command:
    from orchestrator.local.commands import up_command

    return up_command


def _down() -> click.Command:
    from orchestrator.local.commands import down_command

    return down_command


def _ps() -> click.Command:
    from orchestrator.local.commands import ps_command

    return ps_command


def _controller() -> click.Command:
    from orchestrator.entry.controller import controller_command

    return controller_command


def _agent() -> click.Command:
    from orchestrator.entry.agent import agent_command

    return agent_command


for _command in (
    LazyCommand("up", _up, "Run a whole cluster on this machine."),
    LazyCommand("down", _down, "Stop the cluster that `orc up` started here."),
    LazyCommand("ps", _ps, "Show the processes that `orc up` runs here."),
    LazyCommand("controller", _controller, "Run a controller replica with its API."),
    LazyCommand("agent", _agent, "Run the agent of this node."),
):
    orc.add_command(_command)


def main() -> None:
    orc(prog_name="orc")


if __name__ == "__main__":
    main()
