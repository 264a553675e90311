"""What would help when no change of the request would: another state of a node, or a new one.

As in `relaxing`, each suggestion is tried on the real filters before it is told. It is asked for
on demand only, since each trial makes a snapshot of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from orchestrator.model.placement import (
    NODE_KEY,
    NodeSelector,
    Operator,
    Requirement,
    meets,
    whole_number,
)
from orchestrator.model.resources import shown
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.plugins import FilterPlugin
from orchestrator.scheduler.refusals import Verdicts
from orchestrator.scheduler.relaxing import Suggestion, relaxed_at
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule, RuleKind

NEW_NODE = "new-node"
MAX_OPENED = 20
"""Closed nodes that are tried, those first that refuse it for the fewest other reasons."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """The cluster with one node as it might be."""

    snapshot: Snapshot
    node: NodeFacts
    text: str


def node_suggestions(verdicts: Verdicts, plugins: Sequence[FilterPlugin]) -> list[Suggestion]:
    """At most one: a node that only its state keeps from taking it, else a new node; and where
    neither helps by itself, the same with a change of the request."""
    second: Suggestion | None = None
    for trial in _trials(verdicts):
        at = trial.snapshot.facts.index[trial.node.name]
        relaxed = relaxed_at(trial.snapshot, verdicts.shape, at, plugins)
        if relaxed is None:
            continue
        texts, shape = relaxed
        if not texts:
            return [Suggestion(trial.text, shape, trial.snapshot)]
        if second is None:
            text = f"{' and '.join(texts)}, {trial.text}"
            second = Suggestion(text, shape, trial.snapshot, len(texts))
    return [second] if second else []


def _trials(verdicts: Verdicts) -> Iterator[_Trial]:
    nodes = verdicts.snapshot.facts.nodes
    for at in _closed(verdicts):
        node = nodes[at]
        opened = [*nodes[:at], replace(node, refusal=""), *nodes[at + 1 :]]
        text = f"{node.name} would take it, but it {node.refusal}"
        yield _Trial(verdicts.snapshot.with_nodes(opened), node, text)
    for domains in (_domains_of_company(verdicts), {}):
        wanted = _wanted_node(verdicts, domains)
        text = f"a new node{_described(wanted)} would take it"
        yield _Trial(verdicts.snapshot.with_nodes([*nodes, wanted]), wanted, text)


def _closed(verdicts: Verdicts) -> list[int]:
    closed = np.flatnonzero(~verdicts.snapshot.facts.is_open)
    refusals = verdicts.refuses[:, closed].sum(axis=0)
    nearest: list[int] = closed[np.argsort(refusals, kind="stable")].tolist()
    return nearest[:MAX_OPENED]


def _wanted_node(verdicts: Verdicts, domains: dict[str, str]) -> NodeFacts:
    """Just what the shape asks for. Its domains are new ones, but for those that are given or that
    selectors ask for."""
    shape = verdicts.shape
    labels = {term.topology_key: NEW_NODE for term in shape.placement.affinity}
    labels |= {spread.topology_key: NEW_NODE for spread in shape.placement.spread} | domains
    for key in {each.key for each in shape.placement.nodes if each.weight is None}:
        labels |= _selected(key, shape.placement.nodes, labels)
    name = labels.pop(NODE_KEY, NEW_NODE)
    if name in verdicts.snapshot.facts.index:
        names = (f"{NEW_NODE}-{number}" for number in count(2))
        name = next(each for each in names if each not in verdicts.snapshot.facts.index)
    gpu = shape.gpu
    model = gpu.models[0] if gpu and gpu.models else ""
    return NodeFacts(
        name=name,
        allocatable={name: amount for name, amount in shape.quantities.items() if amount},
        gpus=(model,) * gpu.count if gpu else (),
        labels=dict(sorted(labels.items())),
        runtimes=frozenset({"process", shape.runtime}),
        allowed_binds=tuple(sorted(shape.host_paths)),
        allows_privileged=shape.is_privileged,
    )


def _domains_of_company(verdicts: Verdicts) -> dict[str, str]:
    """Where affinity wants it, by topology key: a domain with company, if there is any."""
    labels: dict[str, str] = {}
    rules = [each.subject for each in verdicts.stages if isinstance(each.subject, DomainRule)]
    for rule in rules:
        if rule.kind is RuleKind.AFFINITY and rule.term is not None:
            values = verdicts.snapshot.facts.domains(rule.term.topology_key).values
            for at in np.flatnonzero(rule.counts[:-1])[:1]:
                labels[rule.term.topology_key] = values[at]
    return labels


def _selected(
    key: str, selectors: Sequence[NodeSelector], labels: dict[str, str]
) -> dict[str, str]:
    """A value of the label that meets all hard selectors of that key; none if lacking it does, or
    nothing would."""
    asked = [each.requirement for each in selectors if each.key == key and each.weight is None]
    known = [labels[key]] if key in labels else []
    fitting = (
        value
        for value in (*known, None, *(each for one in asked for each in _values(one)))
        if all(meets({} if value is None else {key: value}, each) for each in asked)
    )
    value = next(fitting, None)
    return {} if value is None else {key: value}


def _values(requirement: Requirement) -> Iterator[str]:
    """Those that might meet it."""
    if requirement.operator in (Operator.GT, Operator.LT):
        bound = whole_number(requirement.values[0]) or 0
        yield str(bound + 1 if requirement.operator is Operator.GT else bound - 1)
    elif requirement.operator is Operator.IN:
        yield from requirement.values
    else:
        yield NEW_NODE


def _described(node: NodeFacts) -> str:
    parts = [shown(name, amount) for name, amount in sorted(node.allocatable.items())]
    if node.gpus:
        model = f" {node.gpus[0]}" if node.gpus[0] else ""
        parts.append(f"{len(node.gpus)} gpu{model}")
    parts += [f"the name {node.name}"] if not node.name.startswith(NEW_NODE) else []
    parts += [f"{key}={value}" for key, value in node.labels.items() if value != NEW_NODE]
    parts += [f"a {key} of its own" for key, value in node.labels.items() if value == NEW_NODE]
    parts += [f"the {runtime} runtime" for runtime in sorted(node.runtimes - {"process"})]
    parts += [f"leave to use {path}" for path in node.allowed_binds]
    parts += ["leave to run privileged containers"] if node.allows_privileged else []
    return f" with {', '.join(parts)}" if parts else ""
