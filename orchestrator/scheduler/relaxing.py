"""What would help: the smallest changes with which a request that fits nowhere fits somewhere.

Each suggestion is tried on the real filters before it is told, so that it is true: ask for what
it says, and in this snapshot it is placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.model.placement import (
    NodeSelector,
    Placement,
    TaintEffect,
    Toleration,
    TolerationOperator,
)
from orchestrator.model.resources import MILLI, shown
from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.facts import Column, NodeFacts, untolerated
from orchestrator.scheduler.feasibility import Filter, Stage, feasible, stages
from orchestrator.scheduler.plugins import FilterPlugin
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.refusals import Verdicts
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule, RuleKind

MAX_SUGGESTIONS = 5
MAX_TRIED = 20
"""Nodes whose needs are worked out, the nearest first: each costs a look at all filters."""
OF_AMOUNTS = (Filter.RESOURCE, Filter.GPU)
OTHER_MODELS = "without gpu_model"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`text` says what to change, in so many `changes` of the request; with that, `shape` is asked
    for in `snapshot`, and fits."""

    text: str
    shape: Shape
    snapshot: Snapshot
    changes: int = 0


def suggestions(
    verdicts: Verdicts, plugins: Sequence[FilterPlugin], most: int = MAX_SUGGESTIONS
) -> list[Suggestion]:
    """The nearest first: fewest changes, then the smallest shortage. Empty if only the nodes
    themselves could change it."""
    found: dict[frozenset[str], Suggestion] = {}
    helpful: set[frozenset[str]] = set()
    fewest = None
    for at in _nearest(verdicts):
        changes = int(verdicts.refuses[:, at].sum())
        if len(found) == most or (fewest is not None and changes > fewest):
            break
        refusing = verdicts.refusing(at)
        asked = _without_all(verdicts.shape, refusing, verdicts.snapshot, at)
        if asked is None or (kind := _kind(refusing, asked[0])) in helpful:
            continue
        relaxed = relaxed_at(verdicts.snapshot, verdicts.shape, at, plugins)
        if relaxed is not None:
            fewest = changes
            helpful.add(kind)
            found.setdefault(frozenset(relaxed[0]), _told(*relaxed, verdicts, at, plugins))
    return sorted(found.values(), key=lambda each: each.changes)


def _kind(refusing: Sequence[Stage], texts: Sequence[str]) -> frozenset[str]:
    """Changes of one kind differ in amounts only; of those, the first is the nearest."""
    return frozenset(
        f"less {stage.subject}" if stage.filter in OF_AMOUNTS and text != OTHER_MODELS else text
        for stage, text in zip(refusing, texts, strict=True)
    )


def _told(
    texts: tuple[str, ...],
    shape: Shape,
    verdicts: Verdicts,
    at: int,
    plugins: Sequence[FilterPlugin],
) -> Suggestion:
    count = int(feasible(verdicts.snapshot, shape, plugins).sum())
    where = f"it would fit {verdicts.snapshot.facts.names[at]}"
    fits = where if count == 1 else f"{count} nodes would fit"
    text = f"{' and '.join(texts)}, {fits}"
    return Suggestion(text, shape, verdicts.snapshot, len(texts))


def _nearest(verdicts: Verdicts) -> list[int]:
    """Nodes that take instances at all: those that fewest filters refuse, and of each set of
    filters the one where least is short; then the second of each, and so on."""
    places = np.flatnonzero(verdicts.snapshot.facts.is_open)
    refuses = verdicts.refuses[:, places]
    shortage = _shortage(verdicts)[places]
    bits = np.int64(1) << (np.arange(len(refuses), dtype=np.int64) % 62)
    kinds = np.unique(bits @ refuses, return_inverse=True)[1]
    turns: list[tuple[int, int, int, int]] = []
    for kind in range(int(kinds.max(initial=-1)) + 1):
        alike = np.flatnonzero(kinds == kind)
        best = alike[np.argsort(shortage[alike], kind="stable")[:MAX_TRIED]]
        count = int(refuses[:, best[0]].sum())
        turns += [(count, turn, int(shortage[at]), int(places[at])) for turn, at in enumerate(best)]
    return [at for *_, at in sorted(turns)][:MAX_TRIED]


def _shortage(verdicts: Verdicts) -> Column:
    """By node: the largest shortage of a resource or of GPUs, in thousandths of what is wanted."""
    snapshot = verdicts.snapshot
    worst = np.zeros(len(snapshot.facts), dtype=np.int64)
    for resource, wanted in verdicts.shape.quantities.items():
        free = snapshot.free.get(resource)
        if free is not None and wanted > 0:
            worst = np.maximum(worst, (wanted - free) * 1000 // wanted)
    if verdicts.shape.gpu is not None:
        worst = np.maximum(worst, _gpu_shortage(snapshot, verdicts.shape.gpu))
    return worst


def _gpu_shortage(snapshot: Snapshot, need: GpuNeed) -> Column:
    """Where there is nothing of the wanted models, the others count; less than those do."""
    of_models, of_any = (_lacking(snapshot, need, models) for models in (need.models, ()))
    return of_models + np.where(of_models == 1000, of_any, 0)


def _lacking(snapshot: Snapshot, need: GpuNeed, models: tuple[str, ...]) -> Column:
    free = np.where(snapshot.facts.has_models(models), snapshot.gpus_free, 0)
    best = np.sort(np.clip(free, 0, need.milli), axis=1)[:, -need.count :]
    wanted = need.milli * need.count
    lacking: Column = (wanted - best.sum(axis=1)) * 1000 // wanted
    return lacking


def _without_all(
    shape: Shape, refusing: Sequence[Stage], snapshot: Snapshot, at: int
) -> tuple[tuple[str, ...], Shape] | None:
    """What the shape must give up to pass these, in words; None if that is not its to give."""
    texts: list[str] = []
    for stage in refusing:
        made = _without(shape, stage, snapshot, at)
        if made is None:
            return None
        text, shape = made
        texts.append(text)
    return tuple(texts), shape


def relaxed_at(
    snapshot: Snapshot, shape: Shape, at: int, plugins: Sequence[FilterPlugin]
) -> tuple[tuple[str, ...], Shape] | None:
    """All that the shape must give up to fit one node, in words; None if that does not help."""
    texts: tuple[str, ...] = ()
    while True:  # one change may call for another, but each gives something up for good
        now = Verdicts.of(snapshot, shape, stages(snapshot, shape, plugins))
        made = _without_all(shape, now.refusing(at), snapshot, at)
        if made is None:
            return None
        if not made[0]:
            return tuple(dict.fromkeys(texts)), shape
        texts, shape = (*texts, *made[0]), made[1]


def _without(shape: Shape, stage: Stage, snapshot: Snapshot, at: int) -> tuple[str, Shape] | None:
    """The shape changed so that one stage lets it pass at one node; None where that is not up to
    people's definition: their data are where they are."""
    subject = stage.subject
    if stage.filter is Filter.RESOURCE:
        return _with_less(shape, str(subject), snapshot, at)
    if stage.filter is Filter.GPU:
        return _with_fewer_gpus(shape, snapshot, at)
    if isinstance(subject, NodeSelector):
        nodes = tuple(each for each in shape.placement.nodes if each is not subject)
        return f"without {subject.requirement}", _placed(shape, nodes=nodes)
    if stage.filter is Filter.TAINT:
        return _tolerating(shape, snapshot.facts.nodes[at])
    if isinstance(subject, DomainRule):
        return _without_rule(shape, subject)
    return _without_part_of_node(shape, stage)


def _without_part_of_node(shape: Shape, stage: Stage) -> tuple[str, Shape] | None:
    subject = stage.subject
    if stage.filter is Filter.PORT:
        assert isinstance(subject, tuple)
        ports = shape.host_ports - {subject}
        return f"without host port {subject[1]}/{subject[0]}", replace(shape, host_ports=ports)
    if stage.filter is Filter.HOST_PATH:
        paths = shape.host_paths - {str(subject)}
        return f"without the node's {subject}", replace(shape, host_paths=paths)
    if stage.filter is Filter.PRIVILEGE:
        return "without privileged containers", replace(shape, is_privileged=False)
    return None


def _placed(shape: Shape, **changes: object) -> Shape:
    placement: Placement = replace(shape.placement, **changes)  # type: ignore[arg-type]
    return replace(shape, placement=placement)


def _with_less(shape: Shape, resource: str, snapshot: Snapshot, at: int) -> tuple[str, Shape]:
    column = snapshot.free.get(resource)
    free = 0 if column is None else max(0, int(column[at]))
    rest = {name: amount for name, amount in shape.quantities.items() if name != resource}
    if free == 0:
        return f"without {resource}", replace(shape, quantities=rest)
    less = shape.quantities[resource] - free
    quantities = {**rest, resource: free}
    return f"with {shown(resource, less)} less", replace(shape, quantities=quantities)


def _with_fewer_gpus(shape: Shape, snapshot: Snapshot, at: int) -> tuple[str, Shape]:
    """With as many of the wanted devices as are free, else with what is left of one."""
    need = shape.gpu
    assert need is not None
    models = snapshot.facts.has_models(need.models)[at]
    free = np.where(models, snapshot.gpus_free[at], 0)
    whole = int((free >= need.milli).sum())
    if need.milli == MILLI and whole:
        fewer = replace(shape, gpu=GpuNeed(MILLI, whole, need.models))
        return f"with {need.count - whole} gpu less", fewer
    most = int(free.max(initial=0))
    if most > 0:
        share = GpuNeed(min(most, need.milli), 1, need.models)
        return f"with gpu {share.milli / MILLI:g}", replace(shape, gpu=share)
    if need.models and (snapshot.gpus_free[at] > 0).any():
        return OTHER_MODELS, replace(shape, gpu=replace(need, models=()))
    return "without gpu", replace(shape, gpu=None)


def _tolerating(shape: Shape, node: NodeFacts) -> tuple[str, Shape]:
    known = shape.placement.tolerations
    taints = [
        taint
        for taint in untolerated(node, known)
        if taint.effect is not TaintEffect.PREFER_NO_SCHEDULE
    ]
    more = tuple(
        Toleration(taint.key, TolerationOperator.EQUAL, taint.value, taint.effect)
        for taint in taints
    )
    names = " and ".join(str(taint) for taint in taints)
    return f"tolerating {names}", _placed(shape, tolerations=(*known, *more))


def _without_rule(shape: Shape, rule: DomainRule) -> tuple[str, Shape] | None:
    """None for an anti-affinity that others hold."""
    if rule.term is None:
        return None
    name = {
        RuleKind.AFFINITY: "affinity",
        RuleKind.ANTI_AFFINITY: "anti_affinity",
        RuleKind.SPREAD: "spread",
    }[rule.kind]
    terms = tuple(each for each in getattr(shape.placement, name) if each is not rule.term)
    to = "over" if rule.kind is RuleKind.SPREAD else "to"
    return f"without {rule.kind.value} {to} {rule.text}", _placed(shape, **{name: terms})
