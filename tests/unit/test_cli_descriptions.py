"""What `orc describe` tells of placement, priority and GPUs."""

from __future__ import annotations

import pytest

from orchestrator.cli.columns import Setting
from orchestrator.cli.descriptions import describe_instance, describe_node, describe_workload
from orchestrator.cli.placement_text import gpu_need_text, placement_lines
from orchestrator.model.manifest import parse_manifests
from orchestrator.model.node import Availability, NodeStatus
from orchestrator.model.placement import Taint, TaintEffect
from orchestrator.model.resources import NodeResources
from orchestrator.model.views import Node, Workload
from orchestrator.model.workload import GpuNeed, WorkloadStatus
from tests.support.manifests import WEB
from tests.support.told_instances import instance

NOW = Setting(100.0)

PLACED = """\
priority: high
gang: true
min_available: 2
placement:
  strategy: pack
  nodes:
    - {key: zone, values: [a, b]}
    - {key: cores, operator: Gt, values: ["8"], weight: 50}
  affinity: [{workload: cache, topology_key: zone}]
  anti_affinity: [{labels: {app: web}, weight: 7}]
  spread:
    - {topology_key: zone, min_domains: 3}
    - {topology_key: rack, max_skew: 2, when_unsatisfiable: ScheduleAnyway}
  tolerations:
    - {key: gpu, value: T4, effect: NoSchedule}
    - {key: old, operator: Exists, effect: NoExecute, seconds: 300}
    - {operator: Exists}
"""
LINES = [
    "pack over the nodes",
    "only nodes with zone=a|b",
    "rather nodes with cores > 8 (weight 50)",
    "together with workload cache (by zone)",
    "rather apart from app=web (by node, weight 7)",
    "evenly over zone, skew 1 at most, 3 domains or more",
    "rather evenly over rack, skew 2 at most",
    "tolerates gpu=T4:NoSchedule",
    "tolerates old:NoExecute for 5m",
    "tolerates every taint",
]


def described(manifest: str) -> list[str]:
    (spec,) = parse_manifests(manifest)
    workload = Workload("web", "default", 1, 7, False, spec, WorkloadStatus(1))
    return describe_workload(workload, (), (), NOW).splitlines()


def test_constraints_are_told_a_line_for_each() -> None:
    (spec,) = parse_manifests(WEB + PLACED)
    assert list(placement_lines(spec.placement)) == LINES


def test_a_workload_is_described_with_how_it_is_placed() -> None:
    gpus = "    resource_requests: {gpu: 0.46}\n    gpu_model: [T4, A10]\n"
    lines = described(WEB + gpus + PLACED)
    assert "Priority:    high" in lines
    assert "Gang:        placed all at once or not at all" in lines
    assert "Budget:      2 must run before one more is moved" in lines
    assert "GPUs:        0.46 of one for each instance, T4 or A10" in lines
    at = lines.index(f"Placement:   {LINES[0]}")
    assert [line.strip() for line in lines[at + 1 : at + len(LINES)]] == LINES[1:]


def test_a_plain_workload_has_nothing_of_it() -> None:
    lines = described(WEB)
    assert lines[5:10] == [
        "Priority:    normal",
        "Gang:        no",
        "Budget:      none",
        "GPUs:        -",
        "Placement:   -",
    ]
    gone = Workload("web", "default", 1, 0, True, None, WorkloadStatus(1))
    assert "Priority" not in describe_workload(gone, (), (), NOW)


@pytest.mark.parametrize(
    ("need", "text"),
    [
        (None, ""),
        (GpuNeed(1000, 2), "2 for each instance"),
        (GpuNeed(1000, 2, ("T4",)), "2 for each instance, T4"),
        (GpuNeed(250, 1), "0.25 of one for each instance"),
    ],
)
def test_the_gpus_of_an_instance_in_words(need: GpuNeed | None, text: str) -> None:
    assert gpu_need_text(need) == text


def test_an_instance_is_described_with_its_devices_and_who_gives_way() -> None:
    after = ("default.batch.0.1", "default.batch.1.1")
    lines = describe_instance(instance(gpus=(0, 3), after=after), (), NOW).splitlines()
    assert "GPUs:            0, 3" in lines
    at = lines.index("Starts after:    default.batch.0.1")
    assert lines[at + 1].strip() == "default.batch.1.1"
    assert "Gives way to:    -" in lines
    victim = describe_instance(instance(displaced_by="default.db.0.1"), (), NOW)
    assert "Gives way to:    default.db.0.1\n" in victim


def test_a_node_is_described_with_its_taints_and_devices() -> None:
    room = NodeResources(4, 4000)
    node = Node(
        *("n1", NodeStatus.READY, Availability.DRAINING, "", room, room, ("process",)),
        *({}, {}, "", 0),
        taints=(Taint("gpu"), Taint("old", "x", TaintEffect.NO_EXECUTE)),
        gpus=("T4", "A10", "T4"),
    )
    lines = describe_node(node, (), (), NOW).splitlines()
    assert "Availability:   draining" in lines
    at = lines.index("Taints:         gpu:NoSchedule")
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        "old=x:NoExecute",
        "GPUs:           A10=1",
        "T4=2",
    ]
