"""The kinds of things that `orc` gets, describes and deletes, by all the names they go by."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import click

from orchestrator.model.near_names import near_name


class Kind(StrEnum):
    WORKLOADS = "workloads"
    INSTANCES = "instances"
    NODES = "nodes"
    EVENTS = "events"

    @property
    def singular(self) -> str:
        return self.value.removesuffix("s")


_SHORT = {
    "wl": Kind.WORKLOADS,
    "inst": Kind.INSTANCES,
    "no": Kind.NODES,
    "ev": Kind.EVENTS,
}


class KindParam(click.ParamType[Kind]):
    """One of `kinds`, in any of its spellings."""

    name = "kind"

    def __init__(self, *kinds: Kind) -> None:
        self._by_spelling = {
            **{kind.singular: kind for kind in kinds},
            **{kind.value: kind for kind in kinds},
            **{short: kind for short, kind in _SHORT.items() if kind in kinds},
        }

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Kind:
        if isinstance(value, Kind):
            return value
        text = str(value).lower()
        if text not in self._by_spelling:
            self.fail(self._unknown(text), param, ctx)
        return self._by_spelling[text]

    def _unknown(self, text: str) -> str:
        near = near_name(text, self._by_spelling)
        known = ", ".join(dict.fromkeys(kind.singular for kind in self._by_spelling.values()))
        told = f"there is no kind {text!r}"
        return f"{told}: did you mean {near!r}?" if near else f"{told}: it is one of {known}"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        return _completions(self._by_spelling, incomplete)


def _completions(
    spellings: Iterable[str], incomplete: str
) -> list[click.shell_completion.CompletionItem]:
    fitting = (each for each in spellings if each.startswith(incomplete) and each not in _SHORT)
    return [click.shell_completion.CompletionItem(each) for each in fitting]
