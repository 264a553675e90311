"""What tests ask of forecasts."""

from __future__ import annotations

from orchestrator.model.forecast import Forecast, InstanceForecast
from orchestrator.planning.hypotheses import Hypothesis
from orchestrator.planning.simulation import Brain, Scene
from orchestrator.planning.whatif import simulate
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.planned_cluster import PlannedCluster

BRAIN = Brain(VectorScheduler())


def foreseen(cluster: PlannedCluster, *hypotheses: Hypothesis) -> Forecast:
    return simulate(Scene.of(cluster.state), cluster.now, BRAIN, hypotheses)


def ways(forecast: Forecast) -> list[tuple[str, str, str, str]]:
    """Of each instance: what becomes of it, and from where to where."""
    return [
        (each.fate.value, each.instance, each.from_node, each.to_node) for each in told(forecast)
    ]


def told(forecast: Forecast) -> list[InstanceForecast]:
    return sorted(forecast.instances, key=lambda each: each.instance)
