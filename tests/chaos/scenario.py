"""What a scenario is, and how one is carried out: act, heal, rest, judge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from tests.support.chaos.arena import Arena
from tests.support.chaos.ground import Ground
from tests.support.chaos.verdict import verdict

STANDING = Ground()
"""Three of each: what most scenarios need, so that they can share one."""


class Span(Enum):
    """How much of the machine's time one takes."""

    SHORT = "short"
    LONG = "long"
    """Too much for `make test`."""
    MINUTES = "minutes"
    """Too much to be repeated by a benchmark."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`act` does it to an arena, and tells in how many seconds the cluster then did what people
    had asked for; `within_seconds` is how long that should take at most. `number` is the fault
    plan's."""

    number: int
    title: str
    act: Callable[[Arena], Awaitable[float]]
    within_seconds: float
    ground: Ground = STANDING
    span: Span = Span.SHORT

    @property
    def name(self) -> str:
        return f"{self.number:02}-{self.act.__name__.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class Outcome:
    faults: int
    seconds_to_recover: float
    violations: tuple[str, ...]


async def carry_out(scenario: Scenario, arena: Arena) -> Outcome:
    """In an arena in which all is well; and so it is again in the end."""
    before = len(arena.deeds.faults)
    seconds = await scenario.act(arena)
    await arena.heal()
    broken = await verdict(arena)
    async with arena.operating() as operator:
        await arena.clear(operator)
    return Outcome(len(arena.deeds.faults) - before, seconds, tuple(broken))
