"""How full the store is, and what follows from that. Pure.

What counts towards etcd's quota is the size of the file, free pages included; but free pages are
used again before the file grows. So a large file is shrunk, and what is *in use* in it makes us
write less: history (until it is compacted) and the keys themselves. Only in the last percents do
free pages not help: what a write may cost must still fit beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from store.defragmentation import is_out_of_space
from store.values import MemberStatus

DEFAULT_QUOTA_BYTES = 2 * 1024**3
"""What etcd takes when it is not given --quota-backend-bytes."""

WARN_SHARE = 0.6
THIN_SHARE = 0.8
REFUSE_SHARE = 0.9

SHRINK_SHARE = 0.8
BRIM_SHARE = 0.95
"""Of the quota, by the size of the file."""


class Level(IntEnum):
    ROOMY = 0
    LOW = 1
    TIGHT = 2
    CRITICAL = 3
    FULL = 4


@dataclass(frozen=True, slots=True)
class Fill:
    """Of the fullest member. `is_full`: etcd has raised its alarm, and takes no writes."""

    file_bytes: int
    in_use_bytes: int
    quota_bytes: int
    is_full: bool = False

    @property
    def file_share(self) -> float:
        return self.file_bytes / self.quota_bytes

    @property
    def in_use_share(self) -> float:
        return self.in_use_bytes / self.quota_bytes


@dataclass(frozen=True, slots=True)
class Measures:
    """`warning`: a sentence for people, empty when all is well. `must_shrink`: compact and
    defragment now. `thins_events`: the leader tells no more events. `refuses_growth`: people may
    only ask for less."""

    level: Level = Level.ROOMY
    warning: str = ""
    must_shrink: bool = False
    thins_events: bool = False
    refuses_growth: bool = False


def fill_of(members: Iterable[MemberStatus], quota_bytes: int | None) -> Fill | None:
    """None if nobody answers. `quota_bytes` None: what the member says, else etcd's default."""
    answered = tuple(members)
    if not answered:
        return None
    return max(
        (_fill(member, quota_bytes, is_full=is_out_of_space(answered)) for member in answered),
        key=lambda fill: (fill.in_use_share, fill.file_share),
    )


def _fill(member: MemberStatus, quota_bytes: int | None, *, is_full: bool) -> Fill:
    quota = quota_bytes or member.quota_bytes or DEFAULT_QUOTA_BYTES
    return Fill(member.db_size_bytes, member.db_size_in_use_bytes, quota, is_full)


def measures_of(fill: Fill | None) -> Measures:
    if fill is None:
        return Measures()
    level = _level(fill)
    return Measures(
        level,
        _warning(level, fill),
        must_shrink=level >= Level.TIGHT or fill.file_share >= SHRINK_SHARE,
        thins_events=level >= Level.TIGHT,
        refuses_growth=level >= Level.CRITICAL,
    )


def _level(fill: Fill) -> Level:
    if fill.is_full:
        return Level.FULL
    if fill.file_share >= BRIM_SHARE:
        return Level.CRITICAL
    shares = (WARN_SHARE, THIN_SHARE, REFUSE_SHARE)
    return Level(sum(fill.in_use_share >= share for share in shares))


_CONSEQUENCES = {
    Level.LOW: "nothing is held back yet",
    Level.TIGHT: "history is compacted at once, and the leader tells no more events",
    Level.CRITICAL: "changes that ask for more are refused; deleting and scaling down are not",
    Level.FULL: "it takes no writes; controllers are making room, as does `orc etcd make-room`",
}


def _warning(level: Level, fill: Fill) -> str:
    if level is Level.ROOMY:
        return ""
    if level is Level.FULL:
        return f"etcd is out of space: {_CONSEQUENCES[level]}"
    return (
        f"etcd is {fill.in_use_share:.0%} full ({mebibytes(fill.in_use_bytes)} in a file of"
        f" {mebibytes(fill.file_bytes)}, of {mebibytes(fill.quota_bytes)} that it may take):"
        f" {_CONSEQUENCES[level]}. Delete what is not needed, or"
        " raise etcd's --quota-backend-bytes"
    )


def mebibytes(size_bytes: float) -> str:
    return f"{size_bytes / 1024**2:.1f} MiB"
