"""What `orc up` shows of a cluster; that it is shown on a terminal is in `test_local`."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from orchestrator.local.screen import MAX_INSTANCES, Picture, as_table, changes
from orchestrator.model.answers import ClusterSummary
from orchestrator.model.instance import PortBinding, Wanted, WorkloadInstanceStatus
from orchestrator.model.views import WorkloadInstance


def instance(slot: int) -> WorkloadInstance:
    return WorkloadInstance(
        f"default.web.{slot}.1",
        "default",
        "web",
        slot,
        attempt=1,
        generation=1,
        node="n1",
        status=WorkloadInstanceStatus.RUNNING,
        wanted=Wanted.RUNNING,
        reason="",
        assigned_because="it has room",
        failures=0,
        ports=(PortBinding("server", 8080, 7500 + slot),),
    )


def shown(instances: int) -> list[str]:
    summary = ClusterSummary("c1", "", 7, is_synced=True, leader=None, workloads=1)
    picture = Picture(summary, (), (), tuple(instance(slot) for slot in range(instances)))
    page = StringIO()
    Console(file=page, width=120).print(as_table(picture))
    return [line.rstrip() for line in page.getvalue().splitlines()]


def test_the_table_shows_who_leads_and_where_each_instance_listens() -> None:
    lines = shown(2)
    assert lines[0].split() == ["leader", "none", "nodes"]
    assert lines[-1].split() == ["default.web.1.1", "n1", "Running", "127.0.0.1:7501"]


def test_the_table_fits_a_screen_and_says_what_it_leaves_out() -> None:
    assert shown(MAX_INSTANCES)[-1].startswith(f"default.web.{MAX_INSTANCES - 1}.1")
    assert shown(MAX_INSTANCES + 2)[-1] == "and 2 more: orc get instances"


def test_only_what_has_changed_is_told() -> None:
    before = {"leader": "c1", "node n1": "Ready", "node n2": "Ready"}
    now = {"leader": "c2", "node n1": "Ready", "node n3": "Ready"}
    assert changes(before, now) == ["node n2: gone", "leader: c2", "node n3: Ready"]
