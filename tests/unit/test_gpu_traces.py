"""Reading GPU traces, and the order in which the packing benchmark plays them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.packing import play_policies
from benchmarks.packing_table import table_rows, text
from benchmarks.packing_traces import (
    BadTrace,
    arrivals,
    read_trace,
    shuffled_table,
    trace_names,
)
from orchestrator.scheduler.gpu.table import GpuDemand

NODES = """sn,cpu_milli,memory_mib,gpu,model
n-0,64000,262144,2,P100
n-1,96000,393216,8,G2
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
p-0,4000,1024,1,460,
p-1,8000,2048,2,1000,P100|T4
p-2,1000,512,0,0,
"""


def write(folder: Path, **pods: str) -> Path:
    (folder / "openb_node_list_gpu_node.csv").write_text(NODES)
    for name, lines in pods.items():
        (folder / f"openb_pod_list_{name}.csv").write_text(lines)
    return folder


def test_the_default_trace_comes_first(tmp_path: Path) -> None:
    assert trace_names(write(tmp_path, cpu100=PODS, default=PODS)) == ["default", "cpu100"]


def test_a_pod_is_a_demand_and_its_gpu_spec_a_mask(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, default=PODS), "default")
    assert trace.models == ("G2", "P100")
    assert trace.demands == (
        GpuDemand((4000, 1_024_000), 460, 1),
        GpuDemand((8000, 2_048_000), 1000, 2, models=0b110),
        GpuDemand((1000, 512_000)),
    )
    assert trace.capacity == 10_000


def test_a_file_may_lack_gpu_spec(tmp_path: Path) -> None:
    without = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np-0,4000,1024,1,460\n"
    trace = read_trace(write(tmp_path, default=without), "default")
    assert trace.demands == (GpuDemand((4000, 1_024_000), 460, 1),)


@pytest.mark.parametrize("copies", [1, 40])
def test_arrivals_ask_for_130_percent(tmp_path: Path, copies: int) -> None:
    head, *pods = PODS.splitlines()
    trace = read_trace(write(tmp_path, default="\n".join([head, *pods * copies])), "default")
    order = arrivals(trace, random.Random(1))
    asked = sum(demand.gpu_total for demand in order)
    assert 11_000 <= asked <= 14_000
    assert order == arrivals(trace, random.Random(1))
    assert order != arrivals(trace, random.Random(2))


def test_a_shuffled_table_holds_every_node(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, default=PODS), "default")
    table = shuffled_table(trace, random.Random(1))
    assert sorted(table.free.clip(min=0).sum(axis=1).tolist()) == [2000, 8000]


def test_a_run_ends_in_a_table_of_all_policies(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, default=PODS), "default")
    policies = ["random", "bestfit", "fgd", "ours"]
    rows = table_rows(["default"], policies, play_policies(trace, 42, policies))
    assert [row.as_json()["name"] for row in rows] == [f"default/{name}" for name in policies]
    assert all(50 < row.value <= 100 for row in rows)
    assert "default/ours" in text(rows)


@pytest.mark.parametrize(
    ("pods", "sentence"),
    [
        ("name,cpu_milli\np-0,4000\n", "needs the column 'num_gpu'"),
        (PODS.replace("4000", "four"), "'cpu_milli' is 'four': write a whole number"),
        (PODS.splitlines()[0] + "\np-2,1000,512,0,0,\n", "asks for a GPU"),
    ],
)
def test_a_bad_file_is_named_by_what_is_wrong(tmp_path: Path, pods: str, sentence: str) -> None:
    with pytest.raises(BadTrace, match=sentence):
        arrivals(read_trace(write(tmp_path, default=pods), "default"), random.Random(1))


def test_a_folder_without_traces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="name another folder"):
        trace_names(tmp_path)
    with pytest.raises(BadTrace, match=r"cannot read .*No such file"):
        read_trace(tmp_path, "default")
