"""What a mirror tells Prometheus: how far it has come, and what it has doubted."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from store.mirror import Mirror
from store.patience import Clock

PREFIX = "orchestrator_mirror"


class MirrorMetrics(Collector):
    """Asks the mirror when Prometheus asks."""

    def __init__(self, registry: CollectorRegistry, mirror: Mirror, clock: Clock) -> None:
        self._mirror = mirror
        self._clock = clock
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        mirror = self._mirror
        yield GaugeMetricFamily(
            f"{PREFIX}_revision", "The store's revision that is mirrored", mirror.revision
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_synced", "1 once the store has been read", float(mirror.is_synced)
        )
        if mirror.last_heard is not None:
            silence = max(0.0, self._clock() - mirror.last_heard)
            yield GaugeMetricFamily(
                f"{PREFIX}_silent_seconds", "How long the store has said nothing", silence
            )
        anomalies = CounterMetricFamily(
            f"{PREFIX}_anomalies", "What the watch should not have done", labels=["kind"]
        )
        for kind, count in mirror.anomalies.items():
            anomalies.add_metric([kind.value], count)
        yield anomalies
