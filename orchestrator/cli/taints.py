"""Taints as people write them on a command line: `key=value:Effect`, and `key-` for none. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.cli.errors import Misuse
from orchestrator.model.near_names import near_name
from orchestrator.model.placement import Taint, TaintEffect

_EFFECTS = {each.value: each for each in TaintEffect}


def read_taints(texts: Iterable[str]) -> tuple[list[Taint], list[str]]:
    """Those to add, and those to take away as `key` or `key:Effect`: whatever their value.

    Raises `Misuse`.
    """
    added, removed = [], []
    for text in texts:
        if text.endswith("-"):
            removed.append(_removed(text.removesuffix("-")))
        else:
            added.append(_added(text))
    return added, removed


def _added(text: str) -> Taint:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    if not key:
        raise _no_taint(text)
    return Taint(key, value, _effect(effect))


def _removed(text: str) -> str:
    pair, colon, effect = text.partition(":")
    key = pair.partition("=")[0]
    if not key:
        raise _no_taint(f"{text}-")
    return f"{key}:{_effect(effect)}" if colon else key


def _effect(text: str) -> TaintEffect:
    if text in _EFFECTS:
        return _EFFECTS[text]
    near = near_name(text, _EFFECTS)
    advice = f"did you mean {near!r}?" if near else f"it is one of {', '.join(_EFFECTS)}"
    raise Misuse(f"{text!r} is no effect of a taint: {advice}")


def _no_taint(text: str) -> Misuse:
    return Misuse(
        f"{text!r} is no taint: write KEY=VALUE:EFFECT or KEY:EFFECT, and KEY:EFFECT- or KEY- to "
        "take it away"
    )
