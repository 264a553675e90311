"""`orc`: the client's commands, and those that run the parts of a cluster."""

from __future__ import annotations

import click

from orchestrator.cli.app import orc
from orchestrator.entry.imports import import_structlog
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
    import_structlog()

    from orchestrator.entry.controller import controller_command

    return controller_command


def _agent() -> click.Command:
    import_structlog()

    from orchestrator.entry.agent import agent_command

    return agent_command


def _etcd() -> click.Command:
    from orchestrator.entry.etcd import etcd_group

    return etcd_group


def _backup() -> click.Command:
    from orchestrator.entry.backup import backup_command

    return backup_command


def _restore() -> click.Command:
    from orchestrator.entry.backup import restore_command

    return restore_command


def _sim() -> click.Command:
    from orchestrator.entry.sim import sim_command

    return sim_command


for _command in (
    LazyCommand("up", _up, "Run a whole cluster on this machine."),
    LazyCommand("down", _down, "Stop the cluster that `orc up` started here."),
    LazyCommand("ps", _ps, "Show the processes that `orc up` runs here."),
    LazyCommand("controller", _controller, "Run a controller replica with its API."),
    LazyCommand("agent", _agent, "Run the agent of this node."),
    LazyCommand("etcd", _etcd, "Look after etcd itself; needs no controller."),
    LazyCommand("backup", _backup, "Save all that etcd holds to a file."),
    LazyCommand("restore", _restore, "Make a data directory for etcd of a backup."),
    LazyCommand("sim", _sim, "Simulate clusters under faults, by seeds."),
):
    orc.add_command(_command)


def main() -> None:
    orc(prog_name="orc")


if __name__ == "__main__":
    main()
