"""Python's collector of cyclic garbage, told what kind of heap this is.

Theory of operation
-------------------
A mirror is millions of small records. They form no cycles: their memory comes back with their last
reference. The collector cannot know that, and walks through all of them whenever they have grown
by a quarter: a third of a controller's CPU time during a large fill, and a standstill of 0.3 s for
each walk over 150,000 instances.

So what has survived two looks is *set aside* (`gc.freeze`), and costs nothing any more. Cycles that
die there later would never be freed; so once an hour everything is taken back, and looked at
once: one standstill an hour instead of one whenever the collector likes.
"""

from __future__ import annotations

import asyncio
import gc
from typing import NoReturn

YOUNG = 20_000
"""New objects after which the youngest are looked at; Python's own 700 is for small programs."""

YOUNG_LOOKS = 10
"""Of these, before what has survived them is looked at for the second and last time."""

NEVER = 2**31 - 1
SWEEP_SECONDS = 3_600.0


def set_survivors_aside() -> None:
    """For the rest of this process: call it once, before the heap grows."""
    gc.set_threshold(YOUNG, YOUNG_LOOKS, NEVER)
    gc.callbacks.append(_after_a_look)


async def sweep_now_and_then(pause_seconds: float = SWEEP_SECONDS) -> NoReturn:
    """Until cancelled."""
    while True:
        await asyncio.sleep(pause_seconds)
        sweep()


def sweep() -> None:
    """Look at everything once; what survives is set aside again."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _after_a_look(phase: str, told: dict[str, int]) -> None:
    if phase == "stop" and told["generation"] == 1:
        gc.freeze()
