"""Restarts by the node itself while nobody can be told: the planner's back-off, on one node. Pure.

With the store away no new attempt can be made, so that the very instance is restarted. What is
counted here is counted as in `planning.restarts`, from the failures that its assignment names.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.instance import Assignment, PastExit

MAX_TOLD_EXITS = 5


@dataclass(frozen=True, slots=True)
class LocalRestarts:
    """Of one instance. `failures` are those in a row; None before the first end.

    `due_at` (seconds since boot) is when it may be restarted, and None unless it has ended. It was
    `delay_seconds` ahead when it was set: if it ever is further away, the machine has booted.
    """

    count: int = 0
    failures: int | None = None
    due_at: float | None = None
    delay_seconds: float = 0.0
    exits: tuple[PastExit, ...] = ()

    def is_due(self, now: float) -> bool:
        return self.due_at is not None and not now < self.due_at <= now + self.delay_seconds

    def ended(
        self, assignment: Assignment, exit_told: PastExit, lived_seconds: float, now: float
    ) -> LocalRestarts:
        """It has ended by itself: from when on may it be restarted?"""
        policy = assignment.restart
        before = assignment.failures if self.failures is None else self.failures
        failures = 1 if lived_seconds >= policy.reset_after_seconds else before + 1
        delay_seconds = policy.delay_seconds(failures)
        exits = (*self.exits, exit_told)[-MAX_TOLD_EXITS:]
        return LocalRestarts(self.count, failures, now + delay_seconds, delay_seconds, exits)

    def begun(self) -> LocalRestarts:
        """It is being restarted."""
        return LocalRestarts(self.count + 1, self.failures, exits=self.exits)

    def told(self) -> str:
        """For the instance's status; empty if there is nothing to tell."""
        if not self.count:
            return ""
        times = "once" if self.count == 1 else f"{self.count} times"
        return f"restarted {times} while its node was cut off; last: {self.exits[-1].reason}"


NEVER_RESTARTED = LocalRestarts()
