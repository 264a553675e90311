"""Whether a node whose agent looks dead from here is to be believed dead. Pure.

The leader's own finding is a suspicion, and no more: what it cannot reach, others may. So two other
nodes must find the same at the suspect's address, and none the contrary.

A node that has promised to stop an instance (`on_node_lost: fence`) is left to its lease whatever
is found: the promise counts from the lease's end, as its watchdog knows it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.process.witness import Statement

NEEDED_WITNESSES = 2
ASKED_WITNESSES = 3
"""One more than is needed: it may be dead itself."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """`statements` are by the witness's node; the suspect's own word counts for nothing."""

    suspect: str
    statements: Mapping[str, Statement]
    has_promised: bool = False


def doubt(evidence: Evidence) -> str:
    """Why the node must be left to its lease; empty if it is dead."""
    if evidence.has_promised:
        return "it has promised to stop what it runs, which counts from the end of its lease"
    others = evidence.statements.keys() - {evidence.suspect}
    found = {node: evidence.statements[node] for node in sorted(others)}
    if hearing := [node for node, each in found.items() if each is Statement.HEARD]:
        return f"somebody listens there, as {' and '.join(hearing)} found"
    confirming = witnesses_of(evidence)
    if len(confirming) < NEEDED_WITNESSES:
        return f"{len(confirming)} of the {NEEDED_WITNESSES} witnesses that it takes confirm it"
    return ""


def witnesses_of(evidence: Evidence) -> list[str]:
    """The other nodes that found the same as we did."""
    return sorted(
        node
        for node, each in evidence.statements.items()
        if node != evidence.suspect and each is Statement.REFUSED
    )


def chosen_witnesses(suspect: str, nodes: Iterable[str], rng: random.Random) -> list[str]:
    """Whom to ask, of the nodes that seem to live; too few to bear it out: nobody."""
    others = sorted(set(nodes) - {suspect})
    if len(others) < NEEDED_WITNESSES:
        return []
    return rng.sample(others, min(ASKED_WITNESSES, len(others)))
