"""What a patch makes of a node's taints, and what is wrong with one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.api.bodies import NodePatch
from orchestrator.model.placement import Taint, TaintEffect
from orchestrator.model.rules.faults import Fault, is_label_name, too_many
from orchestrator.model.rules.placement import taint_faults

_EFFECTS = [each.value for each in TaintEffect]


def unfit_taints(patch: NodePatch) -> Iterator[Fault]:
    yield from taint_faults(("taints",), patch.taints)
    yield from too_many(("remove_taints",), patch.remove_taints)
    for index, name in enumerate(patch.remove_taints):
        key, colon, effect = name.partition(":")
        if not is_label_name(key) or (colon and effect not in _EFFECTS):
            rule = f"it must be KEY or KEY:EFFECT, with {' or '.join(map(repr, _EFFECTS))}"
            yield Fault(("remove_taints", index), name, rule)


def patched_taints(old: Sequence[Taint], patch: NodePatch) -> tuple[Taint, ...]:
    """First some go, then others come; of one key and effect there is only the last."""
    left = (
        each
        for each in old
        if each.key not in patch.remove_taints
        and f"{each.key}:{each.effect}" not in patch.remove_taints
    )
    added = (Taint(each.key, each.value, each.effect) for each in patch.taints)
    return tuple({(each.key, each.effect): each for each in (*left, *added)}.values())


def taint_changes(old: Sequence[Taint], new: Sequence[Taint]) -> Iterator[str]:
    """`taints: +gpu:NoSchedule`, a line for each that goes or comes."""
    yield from (f"taints: -{each}" for each in old if each not in new)
    yield from (f"taints: +{each}" for each in new if each not in old)
