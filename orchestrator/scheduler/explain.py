"""`explain`: the complete answer to "why does it not run?", on any snapshot."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.explanation import Explanation, NodeAnswer
from orchestrator.scheduler.feasibility import impossible, stages
from orchestrator.scheduler.growing import node_suggestions
from orchestrator.scheduler.plugins import FilterPlugin
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.refusals import Verdicts
from orchestrator.scheduler.relaxing import Suggestion, suggestions
from orchestrator.scheduler.snapshot import Snapshot

TOLD = 2
"""Suggestions in one sentence."""


def explain(snapshot: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin] = ()) -> Explanation:
    """What every node says to one more instance of the shape, and what would help."""
    if problem := impossible(shape):
        refused = (NodeAnswer(name, (problem,)) for name in snapshot.facts.names)
        return Explanation(problem, (), tuple(refused))
    verdicts = Verdicts.of(snapshot, shape, stages(snapshot, shape, plugins))
    nodes = tuple(
        NodeAnswer(name, verdicts.sentences(at)) for at, name in enumerate(snapshot.facts.names)
    )
    fitting = [answer.node for answer in nodes if not answer.refusals]
    if fitting:
        return Explanation(f"{len(fitting)} of {len(nodes)} nodes fit", (), nodes)
    found = what_would_help(verdicts, plugins)
    return Explanation(verdicts.summary(), tuple(each.text for each in found), nodes)


def what_would_help(verdicts: Verdicts, plugins: Sequence[FilterPlugin] = ()) -> list[Suggestion]:
    """Changes of the request, the nearest first; else of the nodes."""
    return suggestions(verdicts, plugins) or node_suggestions(verdicts, plugins)


def why_not(snapshot: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin] = ()) -> str:
    """The short answer for what fits nowhere: nodes counted by reason, and what is nearest."""
    verdicts = Verdicts.of(snapshot, shape, stages(snapshot, shape, plugins))
    texts = [each.text for each in suggestions(verdicts, plugins, most=TOLD)]
    return "; ".join([verdicts.summary(), *texts])
