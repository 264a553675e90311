"""Moves that are planned, and what became of them: between the API and its client."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """`assignment` is the mod_revision of the assignment that was looked at: once it has changed,
    the move is not written any more."""

    instance: str
    from_node: str
    to_node: str
    reason: str
    assignment: int


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Moves that even out the load, in order. `before` and `after` are imbalances: by how many
    thousandths the fullest node's load is above the emptiest one's."""

    before: int
    after: int
    target: int
    moves: tuple[PlannedMove, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedMove:
    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class MovesWritten:
    """`revision` is that of the last write."""

    revision: int
    written: tuple[str, ...] = ()
    refused: tuple[RefusedMove, ...] = ()
