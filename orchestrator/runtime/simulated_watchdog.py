"""The watchdog of a simulated machine: timers of its own, which no agent's end touches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from orchestrator.runtime.protocol import ContainerState
from orchestrator.runtime.watching import Ward

if TYPE_CHECKING:
    from orchestrator.runtime.simulated_host import SimulatedContainer, SimulatedHost

LOOK_SECONDS = 0.25
"""How often it looks for what should not be there, once time is over."""


class SimulatedWatchdog:
    """A `Watchdog` on a `SimulatedHost`. `is_off`: it says that it is at work, and does nothing;
    for the tests that must catch that."""

    def __init__(self, host: SimulatedHost) -> None:
        self.is_off = False
        self._host = host
        self._trusted_until = -inf
        self._wards: tuple[Ward, ...] = ()
        self._told_at: dict[SimulatedContainer, tuple[Ward, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def trusted_until(self) -> float:
        return self._trusted_until

    def wards(self) -> Sequence[Ward]:
        return self._wards

    def trust_until(self, at: float) -> None:
        self._trusted_until = at
        self._schedule()

    async def guard(self, wards: Sequence[Ward]) -> None:
        self._wards = tuple(wards)
        self._schedule()

    async def tend(self) -> None:
        """It needs none."""

    def is_at_work(self) -> bool:
        return bool(self._wards)

    def reboot(self) -> None:
        """Nothing that was trusted before a boot is trusted after it."""
        self._trusted_until = -inf
        self._told_at.clear()
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        dues = [self._trusted_until + each.after_seconds for each in self._wards]
        kills = [at + ward.grace_seconds for ward, at in self._told_at.values()]
        next_at = min(dues + kills, default=None)
        if next_at is not None:
            delay = next_at - self._host.now()
            self._timer = self._host.later(max(delay, LOOK_SECONDS), self._look)

    def _look(self) -> None:
        now = self._host.now()
        for ward in self._wards:
            container = self._host.containers.get(ward.container_id)
            is_due = now >= self._trusted_until + ward.after_seconds and not self.is_off
            if is_due and container is not None and container not in self._told_at:
                self._tell(container, ward)
        for container, (ward, told_at) in list(self._told_at.items()):
            if container.ended.is_set():
                del self._told_at[container]
            elif now >= told_at + ward.grace_seconds:
                container.ask_to_end(by_force=True)
        self._schedule()

    def _tell(self, container: SimulatedContainer, ward: Ward) -> None:
        """One that has not begun cannot be told yet; this looks again."""
        if container.status.state is ContainerState.RUNNING:
            self._told_at[container] = ward, self._host.now()
            container.ask_to_end(by_force=False)
