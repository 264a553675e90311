"""The commands `orc up`, `orc down` and `orc ps`."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from orchestrator.cli.discovery import default_data_dir, find_data_dir
from orchestrator.cli.session import Session
from orchestrator.local.ports import HIGHEST_BASE, MAX_EACH

if TYPE_CHECKING:
    from orchestrator.local.cluster import LocalCluster
    from orchestrator.local.up import UpOptions

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the cluster's data is. By default $XDG_DATA_HOME/orchestrator/local.",
)


@click.command("up")
@data_dir_option
@click.option("--detach", "-d", is_flag=True, help="Return when it is up; `orc down` stops it.")
@click.option(
    "--controllers",
    type=click.IntRange(1, MAX_EACH),
    default=3,
    show_default=True,
    help="How many.",
)
@click.option(
    "--agents",
    type=click.IntRange(1, MAX_EACH),
    default=3,
    show_default=True,
    help="How many nodes.",
)
@click.option("--ha", is_flag=True, help="Three etcd members instead of one.")
@click.option(
    "--base-port",
    type=click.IntRange(1024, HIGHEST_BASE),
    default=7400,
    show_default=True,
    help="The first of the ports that are used.",
)
@click.option("--no-sample", is_flag=True, help="Leave out the sample workload.")
@click.option("--reset", is_flag=True, help="Delete the data and start anew.")
@click.option(
    "--etcd-endpoints", default="", help="Use this etcd, with commas between its members."
)
@click.option("--ready-fd", type=int, hidden=True, help="Detached: say here that it is up.")
@click.pass_obj
def up_command(
    session: Session,
    *,
    data_dir: Path | None,
    detach: bool,
    controllers: int,
    agents: int,
    ha: bool,
    base_port: int,
    no_sample: bool,
    reset: bool,
    etcd_endpoints: str,
    ready_fd: int | None,
) -> None:
    """Run a whole cluster on this machine: etcd, controllers, agents and a sample workload.

    Ctrl-C stops it all and leaves the data: the next `orc up` continues.
    """
    from orchestrator.local.detach import start_detached
    from orchestrator.local.up import UpOptions

    place = data_dir or session.data_dir or default_data_dir(os.environ)
    if detach:
        sys.exit(start_detached(sys.argv[1:], place))
    options = UpOptions(
        data_dir=place,
        controllers=controllers,
        agents=agents,
        is_ha=ha,
        base_port=base_port,
        with_sample=not no_sample,
        is_reset=reset,
        etcd_endpoints=tuple(filter(None, etcd_endpoints.split(","))),
    )
    _run_up(options, ready_fd)


def _run_up(options: UpOptions, ready_fd: int | None) -> NoReturn:
    from orchestrator.local.detach import leave_terminal
    from orchestrator.local.up import up
    from orchestrator.process.logs import configure_logs
    from orchestrator.process.settings import ProcessSettings
    from orchestrator.process.shutdown import run_process

    clusters: list[LocalCluster] = []
    on_ready = None if ready_fd is None else partial(leave_terminal, ready_fd, options.data_dir)

    async def main(stop: asyncio.Event) -> None:
        await up(options, os.environ, stop, on_start=clusters.append, on_ready=on_ready)

    def kill_all() -> None:
        for cluster in clusters:
            cluster.kill()

    configure_logs(ProcessSettings(log_level="warning", log_format="console"))
    run_process(main, on_second_signal=kill_all)


@click.command("down")
@data_dir_option
@click.pass_obj
def down_command(session: Session, *, data_dir: Path | None) -> None:
    """Stop the cluster that `orc up` started here. Its data stays."""
    from orchestrator.local.data_dir import DataDir
    from orchestrator.local.down import down

    place = find_data_dir(data_dir or session.data_dir, os.environ)
    asyncio.run(down(DataDir(place), click.echo))


@click.command("ps")
@data_dir_option
@click.pass_obj
def ps_command(session: Session, *, data_dir: Path | None) -> None:
    """Show the processes of the cluster that `orc up` runs here."""
    from orchestrator.cli.tables import format_table
    from orchestrator.local.data_dir import DataDir
    from orchestrator.local.record import read_record

    place = find_data_dir(data_dir or session.data_dir, os.environ)
    record = read_record(DataDir(place))
    rows = [
        (each.name, each.role, str(each.pid), str(each.port or "-"))
        for each in (record.running() if record else ())
    ]
    click.echo(format_table([("NAME", "ROLE", "PID", "PORT"), *rows]))
