"""What an agent tells Prometheus of its instances and of its reports."""

from __future__ import annotations

from collections import Counter as Count

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.model.instance import InstanceObservation, WorkloadInstanceStatus


class AgentMetrics:
    """One per process; `orchestrator_agent_has_session` is 1 while the cluster counts on us."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "orchestrator_agent"
        self.has_session = Gauge(
            f"{prefix}_has_session", "1 while this node's session lives", registry=registry
        )
        self.start_seconds = Histogram(
            f"{prefix}_instance_start_seconds", "Time to start an instance", registry=registry
        )
        self.start_failures = Counter(
            f"{prefix}_instance_start_failures", "Instances that did not start", registry=registry
        )
        self.steps = Counter(f"{prefix}_steps", "Steps carried out", ["step"], registry=registry)
        instances = Gauge(
            f"{prefix}_instances", "Instances on this node", ["status"], registry=registry
        )
        self._instances = {each: instances.labels(each.value) for each in WorkloadInstanceStatus}
        self._counts = Count[WorkloadInstanceStatus]()

    def count_instances(self, observations: list[InstanceObservation]) -> None:
        counts = Count(each.status for each in observations)
        if counts == self._counts:
            return
        self._counts = counts
        for status, gauge in self._instances.items():
            gauge.set(counts[status])
