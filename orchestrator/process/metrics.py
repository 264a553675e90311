"""Metrics that every process has, in a registry of its own.

Names follow Prometheus's conventions: `process_*` as every exporter calls them, our own under
`orchestrator_`, seconds and totals as such.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from orchestrator import installed_version

LAG_PROBE_SECONDS = 0.25


def new_registry(role: str) -> CollectorRegistry:
    """A registry with this process's own figures. `role` is `controller` or `agent`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "orchestrator_build_info",
        "Always 1; the labels say what runs.",
        ["version", "role", "python"],
        registry=registry,
    )
    build.labels(installed_version() or "0+source", role, platform.python_version()).set(1)
    return registry


class HttpMetrics:
    """Requests by route template, never by path: labels stay few."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "orchestrator_http_requests_total",
            "HTTP requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "orchestrator_http_request_duration_seconds",
            "Seconds to answer, streams left out.",
            ["method", "route"],
            registry=registry,
        )


class LoopLag:
    """How late the event loop runs what is due: the first sign of starved keepalives."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._longest_seconds = 0.0
        longest = Gauge(
            "orchestrator_event_loop_longest_lag_seconds",
            "The longest that the event loop has let a sleeper wait since this process began.",
            registry=registry,
        )
        longest.set_function(lambda: self._longest_seconds)
        self._lag = Histogram(
            "orchestrator_event_loop_lag_seconds",
            "How late the event loop woke a sleeper.",
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=registry,
        )

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            lag = max(0.0, self._clock() - due)
            self._longest_seconds = max(self._longest_seconds, lag)
            self._lag.observe(lag)
