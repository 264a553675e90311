"""Giving a member's free pages back to its disk: which members, in which order, with what care.

A member answers nobody while it is defragmented. With all others well its cluster does not notice;
with one down already, it may lose its quorum. So one member goes at a time, the leader last, and
before each one everybody must be well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from store.protocol import Store
from store.values import MemberStatus

NO_SPACE_ALARM = "NOSPACE"

WORTHWHILE_BYTES = 100 * 1024 * 1024
"""A member stands still meanwhile: not for less than this..."""

WORTHWHILE_SHARE = 0.5
"""...nor for less than this share of its file."""

MAX_RAFT_LAG = 1000
"""Entries that a member that is well may still have to apply."""

DEFRAGMENT_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A member is worth it that would give back so much and such a share of its file."""

    free_bytes: int = WORTHWHILE_BYTES
    free_share: float = WORTHWHILE_SHARE


def is_worth_defragmenting(member: MemberStatus, bar: Bar = Bar()) -> bool:
    free_bytes = member.db_size_bytes - member.db_size_in_use_bytes
    return free_bytes >= max(bar.free_bytes, bar.free_share * member.db_size_bytes)


def defragmentation_order(members: Sequence[MemberStatus]) -> tuple[str, ...]:
    """One endpoint of each member, the leader's last: it must stand still only once."""
    endpoints = {member.header.member_id: member for member in reversed(members)}
    return tuple(
        member.endpoint
        for member in sorted(
            endpoints.values(), key=lambda m: (m.leader_id == m.header.member_id, m.endpoint)
        )
    )


def is_out_of_space(members: Sequence[MemberStatus]) -> bool:
    """By what the members say of themselves, which takes no quorum."""
    return any(NO_SPACE_ALARM in error for member in members for error in member.errors)


def raft_lag(member: MemberStatus, members: Sequence[MemberStatus]) -> int:
    """How many entries it has yet to apply of those that anybody has."""
    newest = max((each.raft_index for each in members), default=0)
    return max(0, newest - member.raft_applied_index)


def unrest(members: Sequence[MemberStatus], endpoints: int) -> str | None:
    """Why no member may stand still now, in a few words; None if all are well.

    `endpoints`: how many should have answered. An alarm about space is no reason: what stands
    still makes room.
    """
    if len(members) < endpoints:
        return f"{endpoints - len(members)} of {endpoints} endpoints do not answer"
    if len({member.leader_id for member in members}) != 1 or not members[0].leader_id:
        return "the members do not agree on a leader"
    for member in members:
        if error := next((each for each in member.errors if NO_SPACE_ALARM not in each), None):
            return f"{member.endpoint} says {error!r}"
        if (lag := raft_lag(member, members)) > MAX_RAFT_LAG:
            return f"{member.endpoint} is {lag} entries behind"
    return None


async def defragment_where_worthwhile(
    store: Store,
    *,
    endpoints: int,
    bar: Bar = Bar(),
    pause_seconds: float = 0.0,
    may_go_on: Callable[[], bool] = lambda: True,
) -> tuple[str, ...]:
    """Defragment, one after the other, the members that would gain much; their endpoints.

    Stops at the first sign of unrest, which is asked for before each member.
    """
    done: list[str] = []
    for endpoint in defragmentation_order(await store.members()):
        if done:
            await asyncio.sleep(pause_seconds)
        members = await store.members()
        member = next((each for each in members if each.endpoint == endpoint), None)
        if unrest(members, endpoints) or member is None or not may_go_on():
            break
        if not is_worth_defragmenting(member, bar):
            continue
        await store.defragment(endpoint, timeout_seconds=DEFRAGMENT_TIMEOUT_SECONDS)
        done.append(endpoint)
    return tuple(done)
