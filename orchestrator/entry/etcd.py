"""`orc etcd`: status, room and quorum of etcd itself. No controller is needed for any of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from orchestrator.cli.errors import ExitCode, Misuse
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.tables import Column, format_fields, format_table, lines_of
from orchestrator.entry.direct import direct_settings
from orchestrator.entry.start import store_address
from orchestrator.model.errors import ClusterError, StateError
from orchestrator.model.keys import Keys
from orchestrator.process.flags import settings_options
from orchestrator.process.upkeep_settings import EtcdSettings
from orchestrator.upkeep.direct import with_store
from orchestrator.upkeep.programs import installed_programs, programs_for
from orchestrator.upkeep.quorum import look, objection, plan_text, recover, require_member
from orchestrator.upkeep.report import MemberReport, StoreReport, ask
from orchestrator.upkeep.room import make_room
from orchestrator.upkeep.space import mebibytes


@click.group("etcd")
def etcd_group() -> None:
    """Look after etcd itself; needs no controller."""


@etcd_group.command("status")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="How to show it.",
)  # fmt: skip
@settings_options(EtcdSettings)
def status_command(*, output: str, config: Path | None, show_config: bool, **flags: object) -> None:
    """Show members, leader, versions, room and alarms; exit code 1 if something is wrong."""
    settings = direct_settings(flags, config, show_config=show_config)
    report = with_store(
        store_address(settings),
        lambda store: ask(store, settings.etcd_endpoints, settings.etcd_quota_bytes),
    )
    if output == "table":
        click.echo(status_text(report))
    else:
        click.echo(serialized(report, Format(output)))
    sys.exit(ExitCode.FAILED if report.problems else ExitCode.OK)


def status_text(report: StoreReport) -> str:
    fields = [
        ("Cluster", report.cluster_id),
        ("Leader", report.leader),
        ("Quorum", "yes" if report.has_quorum else "NO"),
        ("Revision", str(report.revision)),
        ("Quota", mebibytes(report.quota_bytes)),
        ("Alarms", "\n".join(report.alarms)),
        ("Silent", "\n".join(report.silent_endpoints)),
        ("Problems", "\n".join(report.problems)),
        ("Advice", "\n".join(report.advice)),
    ]
    return f"{format_fields(fields)}\n\n{format_table(lines_of(_COLUMNS, report.members))}"


def _role(member: MemberReport) -> str:
    if member.is_learner:
        return "learner"
    return "leader" if member.is_leader else "follower"


_COLUMNS: Sequence[Column[MemberReport]] = (
    Column("ENDPOINT", lambda each: each.endpoint),
    Column("MEMBER", lambda each: each.member_id),
    Column("ROLE", _role),
    Column("VERSION", lambda each: each.version),
    Column("VERDICT", lambda each: each.fitness),
    Column("SIZE", lambda each: mebibytes(each.db_size_bytes).replace(" ", "")),
    Column("QUOTA", lambda each: f"{each.quota_share:.1%}"),
    Column("FREE", lambda each: f"{each.fragmentation:.0%}"),
    Column("TERM", lambda each: str(each.raft_term)),
    Column("INDEX", lambda each: str(each.raft_index)),
    Column("LAG", lambda each: str(each.raft_lag)),
)


@etcd_group.command("make-room")
@settings_options(EtcdSettings)
def make_room_command(*, config: Path | None, show_config: bool, **flags: object) -> None:
    """Help an etcd that is out of space: compact, defragment each member, lift the alarm."""
    settings = direct_settings(flags, config, show_config=show_config)
    keys = Keys(settings.root)
    tell = partial(click.echo, err=True)
    made = with_store(
        store_address(settings), lambda store: make_room(store, keys, time.time, tell)
    )
    if made is None:
        click.echo("etcd is not out of space: nothing was done")
        return
    click.echo(f"compacted at revision {made.compacted_revision}")
    for endpoint in made.defragmented:
        click.echo(f"defragmented {endpoint}")
    click.echo(f"{mebibytes(made.freed_bytes)} are free again, and the alarm is lifted")


@etcd_group.command("recover-quorum")
@click.option(
    "--data-dir", required=True, type=click.Path(path_type=Path, file_okay=False),
    help="The surviving member's data, on this machine.",
)  # fmt: skip
@click.option("--name", default="default", show_default=True, help="The member's own --name.")
@click.option(
    "--copy-to", type=click.Path(path_type=Path),
    help="Where its data is copied first. Left out: beside it.",
)  # fmt: skip
@click.option("--stop-command", help="Stops etcd here, as `systemctl stop etcd`.")
@click.option("--start-command", help="Starts it again, as `systemctl start etcd`.")
@click.option("--force", is_flag=True, help="Even if more than one member still answers.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options(EtcdSettings)
def recover_quorum_command(
    *,
    data_dir: Path,
    name: str,
    copy_to: Path | None,
    stop_command: str | None,
    start_command: str | None,
    force: bool,
    yes: bool,
    config: Path | None,
    show_config: bool,
    **flags: object,
) -> None:
    """Go on from one member when most are lost for good. Run it where that member is."""
    settings = direct_settings(flags, config, show_config=show_config)
    data_dir = data_dir.absolute()
    copy = copy_to or _beside(data_dir)
    if copy.exists():
        raise Misuse(f"{copy} is there already: give another --copy-to")
    loss = asyncio.run(look(store_address(settings), data_dir))
    if why_not := objection(loss, is_forced=force):
        raise StateError(why_not)
    programs = programs_for(loss.version, installed_programs(settings.etcd_bin_dir))
    click.echo(plan_text(data_dir, copy, loss, programs))
    if not yes:
        click.confirm("Go on?", abort=True)
    if stop_command:
        _carry_out(stop_command)
    require_member(data_dir)
    recovered = asyncio.run(recover(data_dir, copy, name, programs))
    click.echo(f"this member is a cluster of its own now, at revision {recovered.revision}")
    if start_command:
        _carry_out(start_command)
    else:
        click.echo("start etcd here again, as always")
    click.echo(
        "delete the other members' data before they start, and add them one by one by"
        f" `etcdctl member add`; when all is well, delete {recovered.copy}"
    )


def _beside(data_dir: Path) -> Path:
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return data_dir.with_name(f"{data_dir.name}.before-recovery-{moment}")


def _carry_out(command: str) -> None:
    """Raises `ClusterError` if it fails."""
    done = subprocess.run(command, shell=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ClusterError(
            f"`{command}` has ended with code {done.returncode}: nothing more is done"
        )
