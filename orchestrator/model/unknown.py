"""What a record says that this release does not know: kept, and not acted on. Pure.

While a cluster is upgraded, or taken back, two releases write the same rows. Who rewrites a row
leaves what it does not know as it is: such a member stays with the thing that said it, as long as
that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.model.item_names import item_name
from orchestrator.model.problems import path_text

MAX_UNKNOWN = 1_000
"""Members in one record: no release writes so many that the one before it does not know."""

MAX_TOLD = 5


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of a list: the one of that name, wherever it is by now, unless it could be several.
    One without a name stays at its place for as long as the list keeps its length."""

    name: str
    index: int
    count: int

    def found_in(self, items: Any) -> Any:
        if not isinstance(items, list):
            return None
        if not self.name:
            return items[self.index] if len(items) == self.count else None
        if self.index < len(items) and item_name(items[self.index]) == self.name:
            return items[self.index]
        named = [each for each in items if item_name(each) == self.name]
        return named[0] if len(named) == 1 else None


@dataclass(frozen=True, slots=True)
class UnknownMember:
    """`location`: members and indices that lead to it, itself the last."""

    location: tuple[str | int, ...]
    value: Any
    way: tuple[str | _Item, ...]

    @property
    def member(self) -> str:
        return str(self.location[-1])


Unknown = tuple[UnknownMember, ...]


def set_aside(tree: Any, locations: Iterable[tuple[str | int, ...]]) -> Unknown:
    """Takes the members at `locations` out of a record's JSON tree."""
    return tuple(_taken(tree, location) for location in locations)


def put_back(tree: Any, unknown: Unknown) -> None:
    """Gives a record's JSON tree what was set aside of an earlier version of it."""
    for each in unknown:
        home = _followed(tree, each.way)
        if isinstance(home, dict):
            home.setdefault(each.member, each.value)


def told(unknown: Unknown) -> str:
    """The condition of whoever the record is about."""
    names = [path_text(each.location) for each in unknown]
    more = f" and {len(names) - MAX_TOLD} more" if len(names) > MAX_TOLD else ""
    return (
        f"its record says {', '.join(names[:MAX_TOLD])}{more}, which this release does not know: "
        "it is kept, and not acted on; look for a slip if no newer release has been at work here"
    )


def _taken(tree: Any, location: tuple[str | int, ...]) -> UnknownMember:
    way: list[str | _Item] = []
    for step in location[:-1]:
        inner = tree[step]
        is_item = isinstance(tree, list)
        way.append(_Item(item_name(inner), int(step), len(tree)) if is_item else str(step))
        tree = inner
    return UnknownMember(location, tree.pop(location[-1]), tuple(way))


def _followed(tree: Any, way: Sequence[str | _Item]) -> Any:
    for step in way:
        if isinstance(step, _Item):
            tree = step.found_in(tree)
        else:
            tree = tree.get(step) if isinstance(tree, dict) else None
    return tree
