"""`orc backup` and `orc restore`: etcd's contents to a file and back, without a controller."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from orchestrator.cli.errors import ExitCode, Misuse
from orchestrator.entry.direct import direct_settings
from orchestrator.entry.start import store_address
from orchestrator.process.clock import boottime
from orchestrator.process.flags import settings_options
from orchestrator.process.upkeep_settings import EtcdSettings
from orchestrator.upkeep.direct import with_store
from orchestrator.upkeep.drill import DrillResult, Verdict, drill
from orchestrator.upkeep.programs import installed_programs, programs_for
from orchestrator.upkeep.restoring import Membership, read_backup, require_vacant, restore
from orchestrator.upkeep.space import mebibytes
from orchestrator.upkeep.taking import take_backup

AFTER_RESTORE = """\
Next:
  1. On every machine of the new etcd, `orc restore` the same file with its own --name and
     --initial-advertise-peer-urls, and the same --initial-cluster.
  2. Start etcd on these data directories, owned by etcd's user, with the same three flags.
  3. Controllers start afresh by themselves, where something restarts them. Agents find that the
     store is another one, stop nothing, and obey it only when each was started once with
     --accept-store. What was started since the backup is then stopped; what was deleted since, is
     started again. Until then whatever runs, runs on."""


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--drill", "proves", is_flag=True, help="Prove it by restoring it for a moment.")
@settings_options(EtcdSettings)
def backup_command(
    *, file: Path, proves: bool, config: Path | None, show_config: bool, **flags: object
) -> None:
    """Save all that etcd holds to FILE, which appears whole or not at all."""
    settings = direct_settings(flags, config, show_config=show_config)
    address = store_address(settings)
    with_store(address, lambda store: take_backup(store, file))
    backup = read_backup(file)
    click.echo(f"{file}: {mebibytes(backup.size_bytes)}, sha256 {backup.sha256}")
    if proves:
        result = with_store(
            address,
            lambda store: drill(
                file,
                store,
                clock=boottime,
                find_programs=lambda: installed_programs(settings.etcd_bin_dir),
            ),
        )
        _tell(result)


def _tell(result: DrillResult) -> None:
    click.echo(f"drill: {result.verdict.value}: {result.reason}")
    if result.verdict is not Verdict.PROVEN:
        sys.exit(ExitCode.FAILED)


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--data-dir", required=True, type=click.Path(path_type=Path, file_okay=False),
    help="The new data directory of the member; nothing may be there yet.",
)  # fmt: skip
@click.option("--name", default="default", show_default=True, help="The member's own --name.")
@click.option(
    "--initial-advertise-peer-urls", "peer_url", default="http://localhost:2380",
    show_default=True, metavar="URL", help="Where the other members reach it.",
)  # fmt: skip
@click.option(
    "--initial-cluster", default="", metavar="NAME=URL,...",
    help="All members. Left out: this one alone.",
)  # fmt: skip
@click.option(
    "--token", default="", help="Of the new cluster; the same on all members. Left out: the file's."
)
@click.option("--etcd-version", default="", help="As 3.5, if several are installed.")
@click.option("--etcd-bin-dir", type=click.Path(path_type=Path), help="Where etcd's tools are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore_command(
    *,
    file: Path,
    data_dir: Path,
    name: str,
    peer_url: str,
    initial_cluster: str,
    token: str,
    etcd_version: str,
    etcd_bin_dir: Path | None,
    yes: bool,
) -> None:
    """Make a data directory for etcd of a backup. Nothing that runs is touched by it."""
    backup = read_backup(file)
    data_dir = data_dir.absolute()
    require_vacant(data_dir)
    membership = Membership(name, peer_url, initial_cluster, token)
    if f"{name}=" not in membership.initial_cluster:
        raise Misuse(f"--initial-cluster does not name {name!r}: give all members, this one too")
    programs = programs_for(etcd_version, installed_programs(etcd_bin_dir))
    click.echo(
        f"This makes {data_dir} from {file} ({mebibytes(backup.size_bytes)}) with"
        f" {programs.restorer}, as a new cluster of {membership.initial_cluster}."
    )
    if not yes:
        click.confirm("Go on?", abort=True)
    asyncio.run(restore(backup, data_dir, membership, programs))
    click.echo(f"restored to {data_dir}\n{AFTER_RESTORE}")
