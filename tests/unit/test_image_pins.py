"""Which image a generation runs is looked up once, and forgotten with its template."""

from __future__ import annotations

from typing import Any

from orchestrator.model.image import ImagePins
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition, WorkloadKey
from orchestrator.planning.hypotheses import ApplyWorkload
from orchestrator.planning.plan import KEPT_REVISIONS, MAX_FORGOTTEN
from tests.support.forecasts import foreseen
from tests.support.planned_cluster import PlannedCluster

KEY = WorkloadKey("default", "web")


def web(**changes: Any) -> WorkloadDefinition:
    return WorkloadDefinition("web", (ContainerConfig("app", image="nginx"),), **changes)


def running(generations: int = 1) -> PlannedCluster:
    """As many generations of it, each with its image looked up."""
    cluster = PlannedCluster(0)
    cluster.add_node("n1", runtimes=("oci",))
    for generation in range(1, generations + 1):
        cluster.apply(web(stop_grace_seconds=float(generation)))
        look_up(cluster, generation)
        cluster.settle()
    return cluster


def look_up(cluster: PlannedCluster, generation: int) -> None:
    cluster.put(cluster.keys.image_pins(KEY, generation), ImagePins({"app": "nginx@sha256:0"}))


def pinned(cluster: PlannedCluster) -> list[int]:
    return [name.generation for name in cluster.state.image_pins_of(KEY)]


def test_they_are_kept_as_long_as_their_template() -> None:
    cluster = running(KEPT_REVISIONS + 4)
    kept = [name.generation for name in cluster.state.revisions_of(KEY)]
    assert pinned(cluster) == kept == list(range(4, KEPT_REVISIONS + 5))


def test_template_and_pins_go_in_one_transaction() -> None:
    cluster = running(KEPT_REVISIONS + 1)
    for grace in (98.0, 99.0):
        cluster.apply(web(stop_grace_seconds=grace))
    (change,) = cluster.plan().changes
    assert change.forgotten_revisions == change.forgotten_image_pins
    assert [name.generation for name in change.forgotten_revisions] == [1]


def test_what_a_late_agent_looked_up_is_forgotten_a_few_at_a_time() -> None:
    cluster = running()
    for generation in range(50, 50 + MAX_FORGOTTEN + 1):
        look_up(cluster, generation)
    (change,) = cluster.plan().changes
    assert len(change.forgotten_image_pins) == MAX_FORGOTTEN
    cluster.settle()
    assert pinned(cluster) == [1]


def test_a_generation_that_still_runs_keeps_them_though_its_template_is_gone() -> None:
    cluster = running()
    cluster.drop(cluster.keys.revision(KEY, 1))
    cluster.settle()
    assert pinned(cluster) == [1]


def test_nothing_is_left_of_a_workload_that_was_deleted() -> None:
    cluster = running(3)
    cluster.delete(KEY)
    cluster.settle()
    assert (pinned(cluster), cluster.state.workload_keys()) == ([], [])
    look_up(cluster, 2)
    cluster.settle()
    assert pinned(cluster) == []


def test_a_forecast_forgets_them_too() -> None:
    cluster = running(KEPT_REVISIONS + 1)
    forecast = foreseen(
        cluster, *(ApplyWorkload(web(stop_grace_seconds=grace)) for grace in (98.0, 99.0))
    )
    assert forecast.is_settled
    assert len(pinned(cluster)) == KEPT_REVISIONS + 1, "nothing is written"
