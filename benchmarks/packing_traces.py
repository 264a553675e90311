"""The GPU traces that `benchmarks.packing` plays: reading them, and the order of arrivals.

The files are those of Alibaba's cluster-trace-gpu-v2023, the experiment is that of Weng et al.,
"Beware of Fragmentation" (USENIX ATC 2023).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.scheduler.gpu.table import WHOLE, GpuDemand, GpuTable, table_of

NODES_FILE = "openb_node_list_gpu_node.csv"
PODS_PREFIX = "openb_pod_list_"
LOAD = 1.3
"""GPU asked for in all, as a share of the cluster's."""


class BadTrace(Exception):
    """A file is missing or does not read as a trace; the sentence says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Node:
    cpu_milli: int
    memory_milli: int
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class Trace:
    """`demands` has one entry for each pod, bit i of a demand's models stands for `models[i]`."""

    name: str
    nodes: tuple[Node, ...]
    models: tuple[str, ...]
    demands: tuple[GpuDemand, ...]

    @property
    def capacity(self) -> int:
        """Milli-units of GPU."""
        return sum(node.gpus for node in self.nodes) * WHOLE


def trace_names(folder: Path) -> list[str]:
    """Of all pod lists in the folder, `default` first."""
    files = folder.glob(f"{PODS_PREFIX}*.csv")
    names = sorted(file.stem.removeprefix(PODS_PREFIX) for file in files)
    if not names:
        raise BadTrace(f"there is no {PODS_PREFIX}<trace>.csv in {folder}: name another folder")
    return sorted(names, key=lambda name: name != "default")


def read_trace(folder: Path, name: str) -> Trace:
    nodes = tuple(
        Node(number(row, "cpu_milli"), number(row, "memory_mib") * 1000, number(row, "gpu"), model)
        for row in rows(folder / NODES_FILE)
        for model in (row.get("model") or "",)
    )
    models = tuple(sorted({node.model for node in nodes}))
    bits = {model: 1 << bit for bit, model in enumerate(models)}
    nowhere = 1 << len(models)
    demands = tuple(
        demand_of(row, bits, nowhere) for row in rows(folder / f"{PODS_PREFIX}{name}.csv")
    )
    return Trace(name, nodes, models, demands)


def rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            yield from csv.DictReader(lines)
    except OSError as error:
        raise BadTrace(f"cannot read {file}: {error.strerror}") from error


def number(row: Mapping[str, str], column: str) -> int:
    try:
        return int(row[column])
    except KeyError:
        raise BadTrace(f"a trace needs the column {column!r}; here are {list(row)}") from None
    except (TypeError, ValueError):
        raise BadTrace(f"{column!r} is {row[column]!r}: write a whole number") from None


def demand_of(row: Mapping[str, str], bits: Mapping[str, int], nowhere: int) -> GpuDemand:
    """`gpu_spec` names the models that will do, "V100M16|V100M32"; some files lack it."""
    count = number(row, "num_gpu")
    accepted = [model for model in (row.get("gpu_spec") or "").split("|") if model]
    models = 0
    for model in accepted if count else ():
        models |= bits.get(model, nowhere)
    rest = (number(row, "cpu_milli"), number(row, "memory_mib") * 1000)
    return GpuDemand(rest, number(row, "gpu_milli") if count else 0, count, models)


def arrivals(trace: Trace, rng: random.Random) -> list[GpuDemand]:
    """All pods in random order, then pods drawn from them until LOAD is reached; pods are left
    out at random if they ask for more than that."""
    order = list(trace.demands)
    rng.shuffle(order)
    asked, wanted = sum(demand.gpu_total for demand in order), LOAD * trace.capacity
    if asked == 0:
        raise BadTrace(f"no pod of the trace {trace.name} asks for a GPU")
    while asked > wanted:
        asked -= order.pop(rng.randrange(len(order))).gpu_total
    while True:
        demand = rng.choice(trace.demands)
        if asked + demand.gpu_milli > wanted:
            return order
        asked += demand.gpu_total
        order.append(demand)


def shuffled_table(trace: Trace, rng: random.Random) -> GpuTable:
    """The empty cluster. Ties go to the first node, so the order is part of the luck."""
    nodes: Sequence[Node] = rng.sample(trace.nodes, len(trace.nodes))
    return table_of(
        [[WHOLE] * node.gpus for node in nodes],
        [trace.models.index(node.model) for node in nodes],
        [(node.cpu_milli, node.memory_milli) for node in nodes],
    )
