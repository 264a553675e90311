"""Packing: how much of a GPU cluster is allocated when more is asked for than there is.

For every trace in the folder: pods arrive in a random order until they have asked for 130 % of
all GPUs, each is placed as it arrives if it fits anywhere, none ever leaves. `share` is the part
of all GPU capacity that is allocated in the end, the mean over the seeds. `paper` is what Weng
et al. published for the policy in "Beware of Fragmentation" (USENIX ATC 2023), for `ours` it is
the best they have, FGD; `to fgd` compares with our FGD in the same run. FGD and only FGD knows
the distribution of the pods beforehand. `ms` are milliseconds of CPU for one decision.

    python -m benchmarks.packing --traces DIR [--seeds N | --quick] [--policies ...] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.packing_table import Floats, Run, table_rows, text
from benchmarks.packing_traces import (
    BadTrace,
    Trace,
    arrivals,
    read_trace,
    shuffled_table,
    trace_names,
)
from orchestrator.scheduler.gpu.best_fit import BestFit
from orchestrator.scheduler.gpu.expected_fill import ExpectedFill
from orchestrator.scheduler.gpu.fragmentation import FragmentationDescent
from orchestrator.scheduler.gpu.policy import GpuPolicy
from orchestrator.scheduler.gpu.profile import DemandProfile
from orchestrator.scheduler.gpu.random_fit import RandomFit
from orchestrator.scheduler.gpu.table import GpuDemand, GpuTable

FIRST_SEED = 42
PROCESSES = 2
LARGEST_NODE = (128_000, 8_000)
"""CPU and GPU, in milli-units: by these BestFit weighs, memory it leaves out."""


def random_fit(trace: Trace, seed: int) -> GpuPolicy:
    rng = random.Random(seed)
    return RandomFit(lambda: rng.getrandbits(48))


def best_fit(trace: Trace, seed: int) -> GpuPolicy:
    cpu, gpu = LARGEST_NODE
    return BestFit(gpu, (cpu, 0))


def fgd(trace: Trace, seed: int) -> GpuPolicy:
    """In the paper typical pods differ by CPU and GPU; memory does not count."""
    counts: Counter[GpuDemand] = Counter()
    for pod in trace.demands:
        counts[GpuDemand((pod.rest[0], 0), pod.gpu_milli, pod.count, pod.models)] += 1
    return FragmentationDescent(counts)


def ours(trace: Trace, seed: int) -> GpuPolicy:
    return ExpectedFill()


POLICIES: dict[str, Callable[[Trace, int], GpuPolicy]] = {
    "random": random_fit,
    "bestfit": best_fit,
    "fgd": fgd,
    "ours": ours,
}


@dataclass(frozen=True, slots=True)
class Options:
    traces: Path
    seeds: int
    policies: Sequence[str]
    json_path: str | None


def main() -> None:
    options = parse()
    try:
        names = trace_names(options.traces)
        traces = [read_trace(options.traces, name) for name in names]
        results = table_rows(names, options.policies, play_all(options, traces))
    except BadTrace as error:
        sys.exit(f"packing: {error}")
    records = json.dumps([row.as_json() for row in results], indent=2)
    if options.json_path == "-":
        print(records)
        return
    print(text(results))
    if options.json_path:
        Path(options.json_path).write_text(records + "\n", encoding="utf-8")


def parse() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", metavar="DIR", type=Path, required=True)
    parser.add_argument("--seeds", metavar="N", type=positive, default=10)
    parser.add_argument("--quick", action="store_true", help="one seed only")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument(
        "--json",
        metavar="PATH",
        nargs="?",
        const="-",
        help="write the rows there as well; without PATH print them instead of the table",
    )
    parsed = parser.parse_args()
    return Options(parsed.traces, 1 if parsed.quick else parsed.seeds, parsed.policies, parsed.json)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def play_all(options: Options, traces: Sequence[Trace]) -> Iterable[Run]:
    """In PROCESSES processes, one for each trace and seed at a time; progress on stderr."""
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    with ProcessPoolExecutor(PROCESSES) as pool:
        jobs = {
            pool.submit(play_policies, trace, seed, options.policies): (trace.name, seed)
            for trace in traces
            for seed in seeds
        }
        for done, job in enumerate(as_completed(jobs), start=1):
            name, seed = jobs[job]
            print(f"{done} of {len(jobs)}: {name}, seed {seed}", file=sys.stderr)
            yield from job.result()


def play_policies(trace: Trace, seed: int, policies: Sequence[str]) -> list[Run]:
    runs = []
    for name in policies:
        rng = random.Random(seed)
        order = arrivals(trace, rng)
        table = shuffled_table(trace, rng)
        milliseconds = play(table, order, POLICIES[name](trace, seed))
        free = int(table.free.clip(min=0).sum())
        share = 100 * (1 - free / trace.capacity)
        runs.append(Run(trace.name, seed, name, share, milliseconds))
    return runs


def play(table: GpuTable, order: Sequence[GpuDemand], policy: GpuPolicy) -> Floats:
    """Places what fits, in turn; milliseconds of CPU for each decision."""
    profile = DemandProfile()
    milliseconds = []
    for demand in order:
        started = time.thread_time()
        profile.add(demand)
        choice = policy.choose(table, demand, None, profile)
        if choice is not None:
            policy.changed([choice.row])
        milliseconds.append((time.thread_time() - started) * 1000)
        if choice is not None:
            table.take(demand, choice)
    return np.array(milliseconds)


if __name__ == "__main__":
    main()
