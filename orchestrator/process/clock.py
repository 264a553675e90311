"""The clock of every process."""

from __future__ import annotations

import time


def boottime() -> float:
    """Seconds since boot. Unlike CLOCK_MONOTONIC it runs through suspend, so that a laptop that
    wakes up knows its leases to be over."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
