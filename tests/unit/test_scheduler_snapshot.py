"""What is claimed on the nodes: it comes and goes, moves to other nodes, is tried on copies."""

from __future__ import annotations

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import Affinity, Placement, PriorityClass
from orchestrator.model.resources import GPU, NodeResources
from orchestrator.model.workload import (
    ContainerConfig,
    GpuNeed,
    PortMapping,
    WorkloadDefinition,
    WorkloadKey,
)
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.feasibility import feasible
from orchestrator.scheduler.protocol import Shape, shape_of
from orchestrator.scheduler.snapshot import Claim, Snapshot
from tests.support.placing import asked, cluster, shape

HTTP = frozenset({("tcp", 80)})
WEB, DB = WorkloadKey("default", "web"), WorkloadKey("default", "db")


def claim(held: Shape, slot: int = 0, gpus: tuple[int, ...] = (), leaving: bool = False) -> Claim:
    return Claim(InstanceName(*held.workload, slot, 1), held, gpus, leaving)


def test_what_comes_and_goes_leaves_no_trace() -> None:
    snapshot = cluster("n1", "n2").snapshot()
    held = shape(host_ports=HTTP, anti_affinity=(Affinity("db"),))
    snapshot.claim("n1", claim(held, 0))
    snapshot.claim("n1", claim(held, 1, leaving=True))
    assert snapshot.presence == {WEB: {0: 2}}
    assert snapshot.ports == {("tcp", 80): {0: 2}}
    assert snapshot.held.tolist() == [2, 0]
    assert snapshot.free["cpu_cores"].tolist() == [2000, 4000]
    for slot in (0, 1):
        snapshot.release("n1", InstanceName(*WEB, slot, 1))
    assert [snapshot.presence, snapshot.ports, snapshot.repulsions, snapshot.labels] == [{}] * 4
    assert snapshot.free["cpu_cores"].tolist() == [4000, 4000]
    assert snapshot.claims == [{}, {}]


def test_claims_on_nodes_that_are_not_there_count_nowhere() -> None:
    made = cluster("n1")
    made.holds("gone", shape())
    assert made.snapshot().presence == {}


def test_a_claim_on_something_that_no_node_has_takes_nothing() -> None:
    snapshot = cluster("n1").snapshot()
    snapshot.claim("n1", claim(shape(quantities={"licence": 5})))
    assert set(snapshot.free) == {"cpu_cores", "memory_mb"}


def test_devices_are_claimed_by_index_also_where_a_node_has_lost_some() -> None:
    made = cluster("n0")
    made.node("n1", gpus=("T4", "T4"))
    snapshot = made.snapshot()
    half = shape(gpu=GpuNeed(460, 1))
    snapshot.claim("n1", claim(half, 0, gpus=(1,)))
    snapshot.claim("n1", claim(half, 1, gpus=(7,)))
    assert snapshot.gpus_free.tolist() == [[-1, -1], [1000, 540]]
    snapshot.release("n1", InstanceName(*WEB, 0, 1))
    assert snapshot.gpus_free.tolist() == [[-1, -1], [1000, 1000]]


def test_a_copy_and_what_it_was_made_of_do_not_see_each_other() -> None:
    snapshot = cluster("n1", "n2").snapshot()
    held = shape(host_ports=HTTP)
    snapshot.claim("n1", claim(held))
    trial = snapshot.copy()
    trial.take(held, [1])
    second_trial = trial.copy()
    trial.take(held, [1])
    snapshot.claim("n2", claim(shape("db")))
    assert snapshot.ports == {("tcp", 80): {0: 1}}
    assert trial.ports == {("tcp", 80): {0: 1, 1: 2}}
    assert second_trial.ports == {("tcp", 80): {0: 1, 1: 1}}
    assert DB in snapshot.presence
    assert DB not in trial.presence


def test_claims_go_along_to_nodes_that_have_changed() -> None:
    made = cluster("n1", "n2", "n3")
    made.holds("n1", shape("db", 3))
    made.holds("n3", shape(host_ports=HTTP))
    nodes = [NodeFacts(name, made.nodes[0].allocatable) for name in ("n0", "n2", "n3")]
    moved = made.snapshot().with_nodes(nodes)
    assert moved.presence == {WEB: {2: 1}}
    assert moved.labels == {WEB: {"app": "web"}}
    assert moved.ports == {("tcp", 80): {2: 1}}
    assert moved.free["cpu_cores"].tolist() == [4000, 4000, 3000]
    rank = PriorityClass.NORMAL.rank
    assert moved.staying[rank]["cpu_cores"].tolist() == [0, 0, 1000]


def test_claims_are_counted_anew_when_nodes_have_other_things_than_before() -> None:
    made = cluster("n1")
    made.holds("n1", shape(quantities={"cpu_cores": 1000, "fpga": 1000}))
    with_fpga = {**made.nodes[0].allocatable, "fpga": 3000}
    moved = made.snapshot().with_nodes([NodeFacts("n1", with_fpga)])
    assert moved.free["fpga"].tolist() == [2000]
    more_gpus = NodeFacts("n1", made.nodes[0].allocatable, gpus=("T4",))
    assert made.snapshot().with_nodes([more_gpus]).gpus_free.tolist() == [[1000]]


def test_a_shape_is_what_matters_of_a_workload_and_its_template() -> None:
    container = ContainerConfig(
        "app",
        image="nginx:1",
        ports=(PortMapping(80, host_port=80), PortMapping(443)),
        resource_requests=NodeResources(cpu_cores=0.5, custom={GPU: 0.46}),
        gpu_model=("T4",),
    )
    spec = WorkloadDefinition(
        "web",
        (container, ContainerConfig("side", command=("log",))),
        labels={"app": "web"},
        placement=Placement(anti_affinity=(Affinity("db"),)),
        priority=PriorityClass.HIGH,
        gang=True,
    )
    made = shape_of(spec.key, spec, spec.template())
    assert (made.workload, made.quantities, made.gpu) == (
        WEB,
        {"cpu_cores": 500},
        GpuNeed(460, 1, ("T4",)),
    )
    assert (made.host_ports, made.images) == (HTTP, frozenset({"docker.io/library/nginx:1"}))
    assert made.labels == spec.labels
    assert (made.placement, made.priority, made.gang) == (spec.placement, spec.priority, True)


def test_of_a_workload_that_is_no_longer_wanted_only_the_template_is_known() -> None:
    spec = WorkloadDefinition(
        "web", (ContainerConfig("app", command=("serve",)),), labels={"a": "b"}
    )
    made = shape_of(WEB, None, spec.template())
    assert (made.labels, made.priority, made.gang) == ({}, PriorityClass.NORMAL, False)


def test_a_snapshot_of_another_order_is_the_same() -> None:
    made = cluster("n2", "n1")
    made.holds("n2", shape())
    snapshot = made.snapshot()
    assert snapshot.facts.names == ("n1", "n2")
    assert feasible(snapshot, asked(shape("web", 4))[0].shape).tolist() == [True, False]
    assert Snapshot.of(reversed(made.nodes), made.claims).presence == snapshot.presence
