"""`orc sim`: the product, in one process and in virtual time, against whatever can go wrong."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import click
import structlog

from orchestrator.simulation.scenario import Setup, Verdict, simulate

SECONDS_AN_HOUR = 3600.0


@dataclass(slots=True)
class Summary:
    """Of all runs so far."""

    seeds: int = 0
    broken: list[Verdict] = field(default_factory=list)
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    revisions: int = 0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict, cpu_seconds: float) -> None:
        self.seeds += 1
        self.virtual_seconds += verdict.virtual_seconds
        self.cpu_seconds += cpu_seconds
        self.revisions += verdict.revisions
        self.runs += verdict.runs
        self.faults += verdict.faults
        self.asked += verdict.asked
        if verdict.findings:
            self.broken.append(verdict)

    def lines(self) -> Iterator[str]:
        speed = self.virtual_seconds / max(self.cpu_seconds, 0.001)
        yield f"{'seeds':28}{self.seeds:>12}"
        yield f"{'simulated hours':28}{self.virtual_seconds / SECONDS_AN_HOUR:>12.1f}"
        yield f"{'times real time, one core':28}{speed:>12.0f}"
        yield f"{'changes in the store':28}{self.revisions:>12}"
        yield f"{'containers started':28}{self.runs:>12}"
        yield f"{'requests of people':28}{self.asked.total():>12}"
        yield f"{'faults injected':28}{self.faults.total():>12}"
        for name, count in sorted(self.faults.items()):
            yield f"  {name.replace('_', ' '):26}{count:>12}"
        yield f"{'invariant violations':28}{len(self.broken):>12}"


@click.command("sim")
@click.option("--seeds", default=100, show_default=True, help="How many runs, a seed each.")
@click.option("--first-seed", default=0, show_default=True, help="The first of them.")
@click.option("--seconds", default=300.0, show_default=True, help="Faults go on for so long.")
@click.option(
    "--nodes",
    type=click.IntRange(min=3),
    default=20,
    show_default=True,
    help="Nodes in each cluster.",
)
@click.option("--jobs", default=os.cpu_count() or 1, help="Runs at a time.  [default: all cores]")
def sim_command(*, seeds: int, first_seed: int, seconds: float, nodes: int, jobs: int) -> None:
    """Simulate whole clusters under faults, and hold them to every invariant.

    Controllers, API, planner, scheduler and agents are the product's own; store, network, machines
    and time are simulated. A seed that fails does so each time. Exits with 1 if any does.
    """
    setups = [Setup(seed, seconds, nodes) for seed in range(first_seed, first_seed + seeds)]
    summary = Summary()
    for verdict, cpu_seconds in _verdicts(setups, jobs):
        summary.add(verdict, cpu_seconds)
        if verdict.findings:
            click.echo(verdict.story())
        _show_progress(summary, len(setups))
    click.echo("\n".join(summary.lines()))
    if summary.broken:
        broken = ", ".join(str(each.setup.seed) for each in summary.broken)
        click.echo(f"these seeds break a promise: {broken}", err=True)
        raise SystemExit(1)


def run_one(setup: Setup) -> tuple[Verdict, float]:
    """The verdict, and the processor's seconds that it took."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began = time.process_time()
    try:
        verdict = simulate(setup)
    except BaseException as error:
        error.add_note(f"repeat it: {setup.command} --jobs 1")
        raise
    return verdict, time.process_time() - began


def _verdicts(setups: list[Setup], jobs: int) -> Iterator[tuple[Verdict, float]]:
    """In whatever order they come to an end."""
    if jobs == 1:
        yield from map(run_one, setups)
        return
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(setups))) as pool:
        yield from pool.imap_unordered(run_one, setups)


def _show_progress(summary: Summary, seeds: int) -> None:
    hours = summary.virtual_seconds / SECONDS_AN_HOUR
    told = f"{summary.seeds}/{seeds} seeds, {hours:.1f} h, {len(summary.broken)} violations"
    click.echo(f"\r{told}", nl=summary.seeds == seeds, err=True)
