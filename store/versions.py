"""Which etcd versions are fit to hold a cluster's state, and why the others are not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

ADVISED = {(3, 5): 33, (3, 6): 14, (3, 7): 1}
"""The first patch of each maintained line without a defect that we know of."""

ADVICE = "install 3.5.33, 3.6.14, 3.7.1 or newer"

REFUSED_BELOW = (3, 5, 3)
"""3.5.0 to 3.5.2 save their index without the data when killed under load (etcd #13766)."""


@dataclass(frozen=True, slots=True)
class Defect:
    """`fixed_in`: for each line, the first patch without it; a line not named never had it."""

    fixed_in: dict[tuple[int, int], int]
    harm: str


DEFECTS = (
    Defect({(3, 5): 5, (3, 4): 21}, "a single member can lose an acknowledged write in a crash"),
    Defect({(3, 5): 6}, "members can come to differ after a crash during defragmentation"),
    Defect({(3, 5): 17}, "a part of a transaction can be applied without the rest"),
    Defect({(3, 5): 14, (3, 4): 32}, "revisions can go back after a crash during compaction"),
    Defect({(3, 5): 8, (3, 4): 25}, "a watch can go back in time after a snapshot"),
    Defect({(3, 5): 13, (3, 4): 31}, "slow watchers lose events; live leases can be revoked"),
    Defect({(3, 5): 18, (3, 4): 36}, "a watch can miss deletions next to a compaction"),
    Defect(
        {(3, 5): 23, (3, 6): 5, (3, 4): 38},
        "renewing a revoked lease can be answered with success; defragmenting can corrupt",
    ),
    Defect({(3, 5): 28, (3, 6): 9, (3, 4): 42}, "linearizable reads can be stale"),
    Defect({(3, 5): 33, (3, 6): 14, (3, 7): 1}, "access rules and TLS have known holes"),
)
"""Worst first; from etcd's changelogs and post-mortems."""


class Fitness(Enum):
    FIT = "fit"
    DOUBTFUL = "doubtful"
    UNFIT = "unfit"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is one sentence that says what to do; empty for a fit version."""

    fitness: Fitness
    reason: str = ""


def verdict_on(version: str) -> Verdict:
    """What to think of an etcd that calls itself `version`; odd names are doubtful, not errors."""
    parsed = _parsed(version)
    if parsed is None:
        return _doubt(f"etcd calls its version {version!r}, which says nothing of its defects")
    line = parsed[:2]
    if line == (3, 5) and parsed < REFUSED_BELOW:
        return Verdict(
            Fitness.UNFIT,
            f"etcd {version} corrupts its data when killed under load (etcd #13766): {ADVICE}",
        )
    if line < (3, 5):
        harm = _worst_harm(parsed)
        return _doubt(f"etcd {version} is of a line that is no longer maintained{harm}")
    if parsed < (*line, ADVISED.get(line, 0)):
        return _doubt(f"etcd {version} has defects that are fixed since{_worst_harm(parsed)}")
    return Verdict(Fitness.FIT)


def _parsed(version: str) -> tuple[int, int, float] | None:
    """Comparable numbers; a pre-release comes half a patch before its release."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)(-.+)?", version)
    if match is None:
        return None
    major, minor, patch = (int(number) for number in match.group(1, 2, 3))
    return major, minor, patch - 0.5 if match[4] else patch


def _worst_harm(parsed: tuple[int, int, float]) -> str:
    line, patch = parsed[:2], parsed[2]
    for defect in DEFECTS:
        if patch < defect.fixed_in.get(line, 0):
            return f" ({defect.harm})"
    return ""


def _doubt(finding: str) -> Verdict:
    return Verdict(Fitness.DOUBTFUL, f"{finding}: {ADVICE}")
