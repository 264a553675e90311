"""What `orc etcd status` says: each member, the whole, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.upkeep.space import Fill, fill_of, measures_of
from store.defragmentation import NO_SPACE_ALARM, is_worth_defragmenting, raft_lag, unrest
from store.errors import StoreError
from store.protocol import Store
from store.values import MemberStatus, RangeOp
from store.versions import Fitness, verdict_on


@dataclass(frozen=True, slots=True)
class MemberReport:
    """Of one endpoint. Shares are of 1; `raft_lag` is in entries."""

    endpoint: str
    member_id: str
    version: str
    fitness: str
    is_leader: bool
    is_learner: bool
    db_size_bytes: int
    db_size_in_use_bytes: int
    quota_share: float
    fragmentation: float
    is_worth_defragmenting: bool
    raft_term: int
    raft_index: int
    raft_lag: int
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreReport:
    """`problems` are sentences for people, worst first; `has_quorum`: it has answered a read that
    takes one."""

    cluster_id: str
    leader: str
    revision: int
    has_quorum: bool
    quota_bytes: int
    members: tuple[MemberReport, ...]
    silent_endpoints: tuple[str, ...]
    alarms: tuple[str, ...]
    problems: tuple[str, ...]
    advice: tuple[str, ...]


async def ask(store: Store, endpoints: Sequence[str], quota_bytes: int | None) -> StoreReport:
    """Ask every member by itself; a store without quorum can answer that too.

    Raises the errors of reading but for `Unavailable` and the like, which are the finding.
    """
    members = await store.members(timeout_seconds=3.0)
    return report_of(members, endpoints, quota_bytes, has_quorum=await has_quorum(store))


async def has_quorum(store: Store, *, timeout_seconds: float = 3.0) -> bool:
    """Whether a read that takes a quorum is answered."""
    try:
        await store.range(RangeOp("\0", keys_only=True), timeout_seconds=timeout_seconds)
    except StoreError:
        return False
    return True


def report_of(
    members: Sequence[MemberStatus],
    endpoints: Sequence[str],
    quota_bytes: int | None,
    *,
    has_quorum: bool,
) -> StoreReport:
    fill = fill_of(members, quota_bytes)
    answered = {member.endpoint for member in members}
    silent = tuple(endpoint for endpoint in endpoints if endpoint not in answered)
    newest = max(members, key=lambda member: member.header.revision, default=None)
    leader = next((m.endpoint for m in members if m.leader_id == m.header.member_id), "")
    return StoreReport(
        cluster_id=f"{newest.header.cluster_id:x}" if newest else "",
        leader=leader,
        revision=newest.header.revision if newest else 0,
        has_quorum=has_quorum,
        quota_bytes=fill.quota_bytes if fill else 0,
        members=tuple(_member(member, members, quota_bytes) for member in members),
        silent_endpoints=silent,
        alarms=tuple(sorted({error for m in members for error in m.errors})),
        problems=tuple(_problems(members, silent, fill, has_quorum=has_quorum)),
        advice=tuple(_advice(members)),
    )


def _member(
    member: MemberStatus, members: Sequence[MemberStatus], quota_bytes: int | None
) -> MemberReport:
    fill = fill_of([member], quota_bytes)
    assert fill, "one member has answered"
    free_bytes = member.db_size_bytes - member.db_size_in_use_bytes
    return MemberReport(
        endpoint=member.endpoint,
        member_id=f"{member.header.member_id:x}",
        version=member.version,
        fitness=verdict_on(member.version).fitness.value,
        is_leader=member.leader_id == member.header.member_id,
        is_learner=member.is_learner,
        db_size_bytes=member.db_size_bytes,
        db_size_in_use_bytes=member.db_size_in_use_bytes,
        quota_share=fill.file_share,
        fragmentation=free_bytes / member.db_size_bytes if member.db_size_bytes else 0.0,
        is_worth_defragmenting=is_worth_defragmenting(member),
        raft_term=member.header.raft_term,
        raft_index=member.raft_index,
        raft_lag=raft_lag(member, members),
        errors=member.errors,
    )


def _problems(
    members: Sequence[MemberStatus],
    silent: Sequence[str],
    fill: Fill | None,
    *,
    has_quorum: bool,
) -> Iterator[str]:
    if not has_quorum:
        yield (
            "there is no quorum, so nothing can be written: start the members that are down; if"
            " most are lost for good, `orc etcd recover-quorum` goes on from one that is left"
        )
    for endpoint in silent:
        yield f"{endpoint} does not answer: start that member, or correct --etcd-endpoints"
    if not silent and (why := unrest(members, len(members))):
        yield why
    if len({member.header.cluster_id for member in members}) > 1:
        yield "the members are of different clusters: correct --etcd-endpoints"
    if warning := measures_of(fill).warning:
        yield warning
    for version in sorted({member.version for member in members}):
        if verdict_on(version).fitness is Fitness.UNFIT:
            yield verdict_on(version).reason


def _advice(members: Sequence[MemberStatus]) -> Iterator[str]:
    for version in sorted({member.version for member in members}):
        if verdict_on(version).fitness is Fitness.DOUBTFUL:
            yield verdict_on(version).reason
    for member in members:
        if is_worth_defragmenting(member):
            yield f"{member.endpoint} is worth defragmenting: the leading controller does so"
    if any(NO_SPACE_ALARM in error for member in members for error in member.errors):
        yield "`orc etcd make-room` compacts, defragments and lifts the alarm"
