"""One run: a cluster, its people and its bad luck, all drawn from one seed; then peace.

*Swarm:* each seed draws which faults there are at all, and how many: what always comes together
with everything else hides what comes alone. *Safety, then liveness:* at first all promises but
those about peace must hold whatever happens; then the faults end, everything is healed, and in
bounded time the cluster must be what people want, and rest.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.simulation.faulty_world import FaultyWorld
from orchestrator.simulation.history import Violation
from orchestrator.simulation.judge import Finding
from orchestrator.simulation.nemesis import CONTROL_PLANE, MEAN, NODES, STORE, Fault, Nemesis
from orchestrator.simulation.people import People
from orchestrator.simulation.virtual_time import run_in_virtual_time, virtual_now
from store.memory.meanness import CALM, Meanness

CONTROLLERS = 3
IN_MEMORY = Path("/dev/shm")
SETTLED_WITHIN_SECONDS = 400.0
CONTEXT_REVISIONS = 50
LONGEST_PROGRAM_SECONDS = 40.0
"""What began before the cure may still fail."""

MOST_SECONDS_OF_PEACE = 1500.0
"""After the faults; by then all must have settled, or have been found not to."""


@dataclass(frozen=True, slots=True)
class Setup:
    """`seconds` is how long the faults go on, in virtual time."""

    seed: int
    seconds: float = 300.0
    nodes: int = 20

    @property
    def command(self) -> str:
        """Which repeats it."""
        return (
            f"orc sim --first-seed {self.seed} --seeds 1 --seconds {self.seconds:g}"
            f" --nodes {self.nodes}"
        )


@dataclass(slots=True)
class Verdict:
    """What has become of one run. `context` are the last changes before the first finding."""

    setup: Setup
    virtual_seconds: float = 0.0
    revisions: int = 0
    runs: int = 0
    digest: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    schedule: list[str] = field(default_factory=list)
    context: list[str] = field(default_factory=list)

    def story(self) -> str:
        """For people: what went wrong, what led to it, and how to see it again."""
        return "\n".join(
            [
                f"seed {self.setup.seed} breaks a promise:",
                *(f"  {finding}" for finding in self.findings[:5]),
                "faults until then:",
                *(f"  {line}" for line in self.schedule),
                f"the last {CONTEXT_REVISIONS} revisions until then:",
                *(f"  {line}" for line in self.context),
                f"repeat it: {self.setup.command}",
            ]
        )


def simulate(setup: Setup) -> Verdict:
    """Carry out one run. Agents keep their data in memory, where there is a file system in it: on
    a disk they would wait for each flush, and so would we."""
    directory = TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
    with directory as path, _without_collector():
        return run_in_virtual_time(_run(setup, Path(path)), random.Random(setup.seed))


@contextmanager
def _without_collector() -> Iterator[None]:
    """What Python's collector finds it finalizes, and an async generator takes steps then: at a
    moment that depends on all that was ever allocated, and not on the seed."""
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()  # what was there before need not be looked through afterwards
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()
        gc.unfreeze()


async def _run(setup: Setup, path: Path) -> Verdict:
    world = FaultyWorld(path, seed=setup.seed)
    rng = random.Random(f"scenario {setup.seed}")
    nemesis = Nemesis(world, random.Random(f"nemesis {setup.seed}"))
    people = People(world.state, world.desks, world.machines, rng, world.judge)
    async with world.running(CONTROLLERS, setup.nodes):
        duties = (world.supervise(), world.bound(), world.be_led())
        helpers = [asyncio.create_task(each) for each in duties]
        acting = asyncio.create_task(_act(setup, world, nemesis, people, rng))
        broken = asyncio.create_task(world.judge.is_broken.wait())
        limit = setup.seconds + MOST_SECONDS_OF_PEACE
        both = (acting, broken)
        done, _ = await asyncio.wait(both, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            says = f"it does not come to an end: {acting.get_stack()}, {list(people.asked.items())}"
            world.judge.tell("I4 convergence", Violation(world.state.revision, "the run", says))
        if acting.done():
            acting.result()
        verdict = _verdict(setup, world, nemesis, people)
        for task in (acting, broken, *helpers):
            task.cancel()
        await asyncio.gather(acting, broken, *helpers, return_exceptions=True)
    return verdict


async def _act(
    setup: Setup, world: FaultyWorld, nemesis: Nemesis, people: People, rng: random.Random
) -> None:
    luck = _Luck.drawn(rng)
    world.store.treat(luck.meanness)
    world.pauses.share, world.troubles.share = luck.pauses, luck.troubles
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(people.live(setup.seconds, luck.eagerness_seconds))
        tasks.create_task(nemesis.rage(setup.seconds, luck.faults, luck.respite_seconds))
    world.pauses.share = world.troubles.share = 0.0
    world.store.treat(CALM)
    world.cure()
    await people.tidy_up()
    await asyncio.sleep(LONGEST_PROGRAM_SECONDS)
    await world.settle(SETTLED_WITHIN_SECONDS)


@dataclass(frozen=True, slots=True)
class _Luck:
    """What can go wrong in this run, and how often."""

    faults: tuple[Fault, ...]
    respite_seconds: float
    eagerness_seconds: float
    pauses: float
    troubles: float
    meanness: Meanness

    @classmethod
    def drawn(cls, rng: random.Random) -> _Luck:
        known = (*CONTROL_PLANE, *NODES, *STORE)
        some = tuple(fault for fault in known if rng.random() < 0.4)
        return cls(
            faults=some or (rng.choice(known),),
            respite_seconds=rng.choice((5.0, 10.0, 30.0)),
            eagerness_seconds=rng.choice((8.0, 15.0, 40.0)),
            pauses=rng.choice((0.0, 0.0, 0.002, 0.01)),
            troubles=rng.choice((0.0, 0.0, 0.05)),
            meanness=rng.choice((CALM, CALM, _some_of(MEAN, rng))),
        )


def _some_of(mean: Meanness, rng: random.Random) -> Meanness:
    """Less of each kind, and nothing of some."""
    return replace(
        mean,
        **{
            name: rng.choice((0.0, 0.2, 1.0)) * getattr(mean, name)
            for name in ("refused", "lost_request", "lost_reply", "late_commit", "lease_lost")
        },
        **{
            name: rng.choice((0.0, 0.2, 1.0)) * getattr(mean, name)
            for name in ("watch_repeated", "watch_broken", "watch_compacted")
        },
        stale_read=rng.choice((0.0, 0.05)),
    )


def _verdict(setup: Setup, world: FaultyWorld, nemesis: Nemesis, people: People) -> Verdict:
    judge = world.judge
    context = []
    if judge.findings:
        context = [
            f"{entry.revision} {entry.key} {(entry.value or b'(deleted)').decode()}"
            for entry in judge.context(CONTEXT_REVISIONS)
        ]
    return Verdict(
        setup,
        virtual_seconds=virtual_now(),
        revisions=len(judge.history.entries),
        runs=len(judge.runs),
        digest=judge.digest,
        faults=nemesis.befallen
        + Counter({"process pause": world.pauses.taken.total()})
        + Counter({"runtime trouble": world.troubles.taken.total()}),
        asked=people.asked,
        findings=judge.findings,
        schedule=nemesis.schedule,
        context=context,
    )
