"""Which records cannot be read, told by the leader as events for people: once for each version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn, Protocol

from orchestrator.cluster.view import ClusterView, News
from orchestrator.model.damage import Damage, shown
from orchestrator.model.workload import WorkloadKey

DAMAGED = "RecordDamaged"
REPAIRED = "RecordRepaired"

MAX_TOLD_AT_ONCE = 20
"""The rest is counted: somebody may put a million keys under our prefix."""


class Tell(Protocol):
    def __call__(
        self, kind: str, subject: str, reason: str, namespace: str = ""
    ) -> Coroutine[Any, Any, None]: ...


@dataclass(frozen=True, slots=True)
class Telling:
    kind: str
    subject: str
    reason: str
    namespace: str = ""


async def tell_damage(view: ClusterView, tell: Tell) -> NoReturn:
    """Until cancelled. What an earlier leader has told is not told again."""
    news = asyncio.Event()
    news.set()
    seen: dict[str, Damage] = {}

    def wake(_news: News) -> None:
        news.set()

    with view.waking(wake):
        while True:
            await news.wait()
            news.clear()
            if seen == view.state.damaged:
                continue
            before, seen = seen, dict(view.state.damaged)
            for telling in tellings(before, seen, lambda each: _is_told(view, each)):
                await tell(telling.kind, telling.subject, telling.reason, telling.namespace)


def tellings(
    before: Mapping[str, Damage],
    after: Mapping[str, Damage],
    is_told: Callable[[Telling], bool] = lambda _: False,
) -> list[Telling]:
    """What to say of the difference."""
    ended = (_told(REPAIRED, key, before[key]) for key in sorted(before.keys() - after.keys()))
    found = (
        _told(DAMAGED, key, after[key]) for key in sorted(after) if _is_new(key, before, after)
    )
    told = [*ended, *(each for each in found if not is_told(each))]
    if len(told) <= MAX_TOLD_AT_ONCE:
        return told
    rest = f"and {len(told) - MAX_TOLD_AT_ONCE} more records: `orc status` lists them"
    return [*islice(told, MAX_TOLD_AT_ONCE), Telling(DAMAGED, "cluster", rest)]


def _is_new(key: str, before: Mapping[str, Damage], after: Mapping[str, Damage]) -> bool:
    return key not in before or before[key].reason != after[key].reason


def _told(kind: str, key: str, damage: Damage) -> Telling:
    owner = damage.owner
    namespace = owner.namespace if isinstance(owner, WorkloadKey) else ""
    ended = "its row can be read again, or is gone"
    reason = damage.sentence if kind == DAMAGED else f"{shown(key)}: {ended}"
    return Telling(kind, damage.subject or shown(key), reason, namespace)


def _is_told(view: ClusterView, telling: Telling) -> bool:
    """By whoever led before, and not taken back since."""
    events = sorted(view.state.events.items(), key=lambda item: item[1].mod_revision)
    ours = [
        entry.record
        for _, entry in events
        if entry.record.kind in (DAMAGED, REPAIRED) and entry.record.subject == telling.subject
    ]
    return any(each.reason == telling.reason for each in ours[-1:])
