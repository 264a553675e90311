"""What a filter says to a node that it refuses, and how many nodes it says it to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.model.placement import NodeSelector
from orchestrator.model.resources import GPU, MILLI, amount, shown
from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.facts import forbidding
from orchestrator.scheduler.feasibility import Filter, Stage, fitting_gpus
from orchestrator.scheduler.protocol import Pin, Shape
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule, RuleKind

MAX_NAMED = 3
"""Nodes of a group; of more, only the number is told."""

MAX_GROUPS = 6
"""Of a summary; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Every filter's answer to a shape: `refuses[stage, node]`."""

    snapshot: Snapshot
    shape: Shape
    stages: tuple[Stage, ...]
    refuses: NDArray[np.bool_]

    @classmethod
    def of(cls, snapshot: Snapshot, shape: Shape, stages: Iterable[Stage]) -> Verdicts:
        found = tuple(stages)
        refuses = np.array([~each.passes for each in found], dtype=np.bool_)
        return cls(snapshot, shape, found, refuses.reshape(len(found), len(snapshot.facts)))

    def refusing(self, at: int) -> list[Stage]:
        return [
            stage
            for stage, refuses in zip(self.stages, self.refuses[:, at], strict=True)
            if refuses
        ]

    def sentences(self, at: int) -> tuple[str, ...]:
        return tuple(_sentence(self, stage, at) for stage in self.refusing(at))

    def summary(self) -> str:
        """All nodes, each under the first filter that refuses it, the largest group first. Of what
        is held to a node by its data, that one alone."""
        count = len(self.snapshot.facts)
        if not count:
            return "there is no node yet"
        if self.shape.pins:
            return _pinned_summary(self)
        groups = sorted(self._groups().items(), key=lambda pair: (-len(pair[1]), pair[0]))
        parts = [
            f"{_agreeing(text, len(nodes))}{self._named(text, nodes)}" for text, nodes in groups
        ]
        if len(parts) > MAX_GROUPS:
            rest = sum(len(nodes) for _, nodes in groups[MAX_GROUPS - 1 :])
            parts[MAX_GROUPS - 1 :] = [f"{rest} have {len(parts) - MAX_GROUPS + 1} other reasons"]
        noun = "node" if count == 1 else "nodes"
        return f"none of {count} {noun} fits: " + "; ".join(parts)

    def _groups(self) -> dict[str, list[int]]:
        groups: defaultdict[str, list[int]] = defaultdict(list)
        left = np.ones(len(self.snapshot.facts), dtype=np.bool_)
        for stage, refuses in zip(self.stages, self.refuses, strict=True):
            first = np.flatnonzero(refuses & left)
            left &= ~refuses
            if len(first):
                for text, nodes in _grouped(self, stage, first.tolist()).items():
                    groups[text] += nodes
        return groups

    def _named(self, text: str, nodes: Sequence[int]) -> str:
        """A few nodes are named, unless the text has named the one that matters."""
        if len(nodes) > MAX_NAMED or _MOST_FREE in text:
            return ""
        return f" ({', '.join(self.snapshot.facts.names[at] for at in nodes)})"


def _pinned_summary(verdicts: Verdicts) -> str:
    pins, facts = verdicts.shape.pins, verdicts.snapshot.facts
    if len({pin.node for pin in pins}) > 1:
        where = ", ".join(f"{pin.volume} on {pin.node}" for pin in pins)
        advice = "give up what is not needed with `orc volume rm NAME --node NODE`"
        return f"its data are on several nodes: {where}; {advice}"
    node, names = pins[0].node, [pin.volume for pin in pins]
    are = f"volume {names[0]} is" if len(names) == 1 else f"volumes {' and '.join(names)} are"
    at = facts.index.get(node)
    why = "is not there" if at is None else " and ".join(verdicts.sentences(at))
    give_up = f"give the data up with `orc volume rm {' '.join(names)}`"
    if at is not None and facts.is_open[at]:
        return f"its {are} on {node}, which {why}: it waits for {node}, unless you {give_up}"
    return (
        f"its {are} on {node}, which {why}: bring {node} back into service, or {give_up}, or"
        f" `orc delete node {node}` if that is gone for good"
    )


def _sentence(verdicts: Verdicts, stage: Stage, at: int) -> str:
    """To one node, with what it lacks."""
    if stage.filter is Filter.RESOURCE:
        return _resource_sentence(verdicts, str(stage.subject), at)
    if stage.filter is Filter.GPU and verdicts.shape.gpu:
        return f"{_GPU_LACK} ({_gpus_free(verdicts.snapshot, verdicts.shape.gpu, at)})"
    return _PHRASES[stage.filter](verdicts, stage, at)


def _resource_sentence(verdicts: Verdicts, resource: str, at: int) -> str:
    free = _free(verdicts.snapshot, resource, at)
    short = verdicts.shape.quantities[resource] - free
    return f"lacks {shown(resource, short)} (free: {amount(resource, free)})"


def _free(snapshot: Snapshot, resource: str, at: int) -> int:
    column = snapshot.free.get(resource)
    return 0 if column is None else max(0, int(column[at]))


def _gpus_free(snapshot: Snapshot, need: GpuNeed, at: int) -> str:
    fitting = int(fitting_gpus(snapshot, need)[at].sum())
    free = [milli for milli in snapshot.gpus_free[at].tolist() if milli > 0]
    has = ", ".join(shown(GPU, milli) for milli in sorted(free, reverse=True)[:8]) or "none"
    return f"wanted: {need.count} with {need.milli / MILLI:g} free, there: {fitting}; free: {has}"


def _grouped(verdicts: Verdicts, stage: Stage, nodes: list[int]) -> dict[str, list[int]]:
    """Which nodes get which phrase; of amounts, the one that is nearest is told."""
    every = range(len(verdicts.snapshot.facts))
    if stage.filter in (Filter.STATE, Filter.TAINT):  # each node has its own
        facts = verdicts.snapshot.facts
        phrases = facts.once(
            (stage.filter, verdicts.shape.placement.tolerations, facts.closed),
            lambda: [_PHRASES[stage.filter](verdicts, stage, at) for at in every],
        )
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for at in nodes:
            groups[phrases[at]].append(at)
        return groups
    if stage.filter is not Filter.RESOURCE:
        return {_PHRASES[stage.filter](verdicts, stage, nodes[0]): nodes}
    resource = str(stage.subject)
    column = verdicts.snapshot.free.get(resource)
    best = nodes[0] if column is None else nodes[int(np.argmax(column[list(nodes)]))]
    free = amount(resource, _free(verdicts.snapshot, resource, best))
    wanted = shown(resource, verdicts.shape.quantities[resource])
    name = verdicts.snapshot.facts.names[best]
    return {f"lacks {wanted} ({_MOST_FREE}{free} on {name})": nodes}


_MOST_FREE = "most free: "
_GPU_LACK = "lacks free GPUs"


def _state(verdicts: Verdicts, _stage: Stage, at: int) -> str:
    return verdicts.snapshot.facts.nodes[at].refusal


def _runtime(verdicts: Verdicts, _stage: Stage, _at: int) -> str:
    return f"has no {verdicts.shape.runtime} runtime"


def _privilege(_verdicts: Verdicts, _stage: Stage, _at: int) -> str:
    return "does not allow privileged containers"


def _host_path(_verdicts: Verdicts, stage: Stage, _at: int) -> str:
    return f"does not allow the path {stage.subject}"


def _selector(_verdicts: Verdicts, stage: Stage, _at: int) -> str:
    assert isinstance(stage.subject, NodeSelector)
    return f"does not meet {stage.subject.requirement}"


def _taint(verdicts: Verdicts, _stage: Stage, at: int) -> str:
    node = verdicts.snapshot.facts.nodes[at]
    return f"is tainted {forbidding(node, verdicts.shape.placement.tolerations)}"


def _volume(_verdicts: Verdicts, stage: Stage, _at: int) -> str:
    assert isinstance(stage.subject, Pin)
    return f"does not have its volume {stage.subject.volume}, which {stage.subject.node} has"


def _plugin(_verdicts: Verdicts, stage: Stage, _at: int) -> str:
    return f"is refused by the plug-in {stage.subject}"


def _domain(_verdicts: Verdicts, stage: Stage, _at: int) -> str:
    rule = stage.subject
    assert isinstance(rule, DomainRule)
    if rule.kind is RuleKind.AFFINITY:
        return f"is not where affinity wants it: {rule.text}"
    if rule.kind is RuleKind.ANTI_AFFINITY:
        return f"is ruled out by anti-affinity: {rule.text}"
    return f"is ruled out by topology spread: {rule.text}"


def _port(_verdicts: Verdicts, stage: Stage, _at: int) -> str:
    assert isinstance(stage.subject, tuple)
    protocol, number = stage.subject
    return f"has host port {number}/{protocol} taken"


def _gpu(_verdicts: Verdicts, _stage: Stage, _at: int) -> str:
    return _GPU_LACK


_PHRASES: dict[Filter, Callable[[Verdicts, Stage, int], str]] = {
    Filter.STATE: _state,
    Filter.RUNTIME: _runtime,
    Filter.PRIVILEGE: _privilege,
    Filter.HOST_PATH: _host_path,
    Filter.SELECTOR: _selector,
    Filter.TAINT: _taint,
    Filter.VOLUME: _volume,
    Filter.PLUGIN: _plugin,
    Filter.DOMAIN: _domain,
    Filter.PORT: _port,
    Filter.GPU: _gpu,
}


_PLURALS = {"is": "are", "has": "have", "does": "do", "lacks": "lack"}


def _agreeing(text: str, number: int) -> str:
    verb, _, rest = text.partition(" ")
    return f"{number} {verb if number == 1 else _PLURALS.get(verb, verb)} {rest}"
