"""`orc apply`: make workloads as their manifests say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.errors import Misuse, Refused
from orchestrator.cli.manifests import read_manifests
from orchestrator.cli.options import client_command, files_option, timeout_option, wait_option
from orchestrator.cli.session import Session

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.answers import Written
    from orchestrator.model.workload import WorkloadDefinition, WorkloadKey


@client_command()
@files_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@wait_option
@timeout_option
@click.pass_obj
def apply(
    session: Session, files: tuple[str, ...], dry_run: bool, wait: bool, timeout: float
) -> None:
    """Create workloads, or change them, as manifests say.

    Nothing is sent unless every manifest is right. What is already as it says is left alone.
    """
    if dry_run and wait:
        raise Misuse("--dry-run changes nothing that could be waited for: leave out --wait")
    definitions = read_manifests(files)
    session.run(lambda client: _apply(client, definitions, dry_run, timeout if wait else None))


async def _apply(
    client: ApiClient,
    definitions: Sequence[WorkloadDefinition],
    is_dry_run: bool,
    wait_seconds: float | None,
) -> None:
    """Each by itself: if one is refused, the others are applied all the same."""
    refused: list[Refused] = []
    for definition in definitions:
        try:
            written = await client.apply(definition, dry_run=is_dry_run)
        except Refused as error:
            refused.append(_named(definition.key, error))
        else:
            click.echo(outcome_line(definition.key, written, is_dry_run=is_dry_run))
    if refused:
        raise _all_of(refused)
    if wait_seconds is not None:
        from orchestrator.cli.waiting import wait_for

        await wait_for(client, [each.key for each in definitions], wait_seconds, gone=False)


def outcome_line(key: WorkloadKey, written: Written, *, is_dry_run: bool = False) -> str:
    """`workload default/web configured (replicas: 3 -> 5)`."""
    changes = f" ({', '.join(written.changes)})" if written.changes else ""
    return f"workload {key} {written.outcome}{changes}{' (dry run)' if is_dry_run else ''}"


def _named(key: WorkloadKey, error: Refused) -> Refused:
    return type(error)(f"workload {key}: {error}", error.status, error.problems)


def _all_of(errors: Sequence[Refused]) -> Refused:
    if len(errors) == 1:
        return errors[0]
    told = [line for error in errors for line in (str(error), *error.problems)]
    return Refused(f"{len(errors)} workloads were refused", problems=tuple(told))
