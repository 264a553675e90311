"""Why something waits: what each node answers, and what would help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What one node says to a request: why not, a sentence for each filter; empty if it fits.

    `rank` is its turn among those that fit, from 1; `standing` is what decides that.
    """

    node: str
    refusals: tuple[str, ...] = ()
    rank: int = 0
    standing: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`summary` counts the nodes by what refuses them, each under its first filter;
    `suggestions` are changes of which each by itself would let it be placed now."""

    summary: str
    suggestions: tuple[str, ...]
    nodes: tuple[NodeAnswer, ...]
