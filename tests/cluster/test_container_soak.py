"""A thousand starts and stops of containers, with kills at random moments: nothing is lost, nothing
runs twice, and in the end nothing is left.

What is killed is the agent, now and then with its process group, and besides the first process of
a container, its conmon, or a runtime at work. `ORC_SOAK_SEED` repeats the choices of a run that
has failed, though not its moments.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.runtime.protocol import ContainerState, ContainerStatus
from tests.support.images import build
from tests.support.oci import skip_without
from tests.support.own_network import own_network
from tests.support.registry import Registry, serving_registry
from tests.support.sandboxes import cni_bin_dir
from tests.support.soak_agent import SPEC, STATUSES
from tests.support.soak_containers import End, Subject, Subjects
from tests.support.soak_lives import AgentDied, Lives
from tests.support.soak_remains import Ground, Process

pytestmark = pytest.mark.slow

LANES = 8
GRACE_SECONDS = 60.0
DEAF_GRACE_SECONDS = 0.02
LONGEST_RUN_SECONDS = 0.3
PEACE_SECONDS = (0.2, 2.0)
GONE_SECONDS = 30.0
BRIDGE = "orcsoak"

Lane = tuple[Subjects, random.Random]


class Soak:
    def __init__(self, ground: Ground, registry: Registry, runtime: str, seed: int) -> None:
        self._ground = ground
        self._seed = seed
        self._rng = random.Random(f"{seed}.harm")
        self._subjects: dict[str, Subject] = {}
        self._is_over = False
        self._starts_left = 0
        self._image = registry.name("app:1")
        self.lives = Lives(
            {
                "node": "soak",
                "data_dir": str(ground.data_dir),
                "oci_runtime": runtime,
                "run_dir": str(ground.run_dir),
                "cgroup_parent": f"/{ground.mark}",
                "bridge": ground.bridge,
                "pod_cidr": "10.116.0.0/20",
                "registries_conf": str(registry.conf),
            },
            ground.mark,
            ground.data_dir.with_name("agent.log"),
            random.Random(f"{seed}.deaths"),
            self._look,
        )

    async def run(self, starts: int) -> None:
        await self.lives.live_on()
        image = (await self.lives.ask("pull", image=self._image))["pinned"]
        before = self._ground.all()
        assert await self.lives.finish() == 0
        lanes = [self._lane_of(number, image) for number in range(LANES)]
        of_the_last = starts // 5
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lives.die_again_and_again(lambda: self._is_over))
            tasks.create_task(self._keep_busy(lanes, starts - of_the_last))
        await self.lives.live_on()
        await self._keep_busy(lanes, of_the_last)  # nobody sweeps after this life
        await self._until_all_is_as(before)
        assert await self.lives.finish() == 0
        self._check_that_none_ran_twice()

    def _lane_of(self, number: int, image: str) -> Lane:
        rng = random.Random(f"{self._seed}.{number}")
        return Subjects(image, self._ground.mark, number, rng), rng

    async def _keep_busy(self, lanes: Sequence[Lane], starts: int) -> None:
        """With harm to containers."""
        self._starts_left = starts
        harming = asyncio.create_task(self._do_harm())
        try:
            async with asyncio.TaskGroup() as working:
                for subjects, rng in lanes:
                    working.create_task(self._work(subjects, rng))
        finally:
            harming.cancel()
            with suppress(asyncio.CancelledError):
                await harming
        self._is_over = True

    async def _work(self, subjects: Subjects, rng: random.Random) -> None:
        while self._starts_left > 0:
            instance = subjects.next()
            self._starts_left -= len(instance)
            for each in instance:
                self._subjects[each.spec.id] = each
                await self._create(each, is_insisted_on=rng.random() < 0.5)
            async with asyncio.TaskGroup() as ending:
                for each in instance:
                    ending.create_task(self._end(each, rng.uniform(0, LONGEST_RUN_SECONDS)))

    async def _create(self, subject: Subject, *, is_insisted_on: bool) -> None:
        """What is not insisted on is given up with its agent, wherever that has come to."""
        fields = {"spec": SPEC.dump_python(subject.spec, mode="json")}
        try:
            answer = await self.lives.ask_once("create", **fields)
        except AgentDied:
            if not is_insisted_on:
                subject.is_going = True
                return
            answer = await self.lives.ask("create", **fields)
        assert "status" in answer or subject.is_hurt, answer
        subject.is_created = "status" in answer

    async def _end(self, subject: Subject, seconds: float) -> None:
        if subject.is_created and subject.end is not End.ITS_OWN:
            await asyncio.sleep(seconds)
        if subject.is_created and subject.end is not End.REMOVED:
            await self._check_end(subject)
        subject.is_going = True
        await self.lives.ask("remove", id=subject.spec.id)
        subject.is_gone = True

    async def _check_end(self, subject: Subject) -> None:
        container_id = subject.spec.id
        if subject.end is not End.ITS_OWN:
            grace = GRACE_SECONDS if subject.end is End.TOLD else DEAF_GRACE_SECONDS
            await self.lives.ask("stop", id=container_id, grace_seconds=grace)
        answer = await self.lives.ask("wait", id=container_id)
        (status,) = STATUSES.validate_python([answer["status"]])
        subject.check_status(status)
        subject.check_lines((await self.lives.ask("log", id=container_id))["lines"])

    def _look(self, found: tuple[ContainerStatus, ...]) -> None:
        """A life has begun."""
        ids = {each.spec.id for each in found}
        for container_id, subject in self._subjects.items():
            if subject.is_created and not subject.is_going:
                assert container_id in ids
        for status in found:
            subject = self._subjects[status.spec.id]
            assert not subject.is_gone
            assert status.spec == subject.spec
            assert status.state in {ContainerState.RUNNING, ContainerState.EXITED}
            was_given_up = subject.is_going and not subject.is_created
            if status.state is ContainerState.EXITED and not was_given_up:
                subject.check_status(status)
        lives = self._ground.lives()
        assert not lives or max(lives.values()) == 1
        assert not any(self._subjects[each].is_gone for each in lives)

    async def _do_harm(self) -> None:
        rng = self._rng
        while True:
            await asyncio.sleep(rng.uniform(*PEACE_SECONDS))
            by_program = defaultdict(list)
            for each in self._ground.processes():
                if self._subject_of(each) is not None:
                    by_program[each.argv[0]].append(each)
            if by_program:
                self._hurt(rng.choice(by_program[rng.choice(sorted(by_program))]))

    def _subject_of(self, process: Process) -> Subject | None:
        known = (self._subjects.get(word) for word in process.argv)
        return next((each for each in known if each is not None), None)

    def _hurt(self, process: Process) -> None:
        subject = self._subject_of(process)
        assert subject is not None
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(process.pid)
            if process in self._ground.processes():  # and no stranger that has its pid since
                subject.is_hurt = True
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    async def _until_all_is_as(self, before: list[str]) -> None:
        """The kernel takes interfaces apart in its own time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GONE_SECONDS):
                while self._ground.all() != before:
                    await asyncio.sleep(0.05)
        assert self._ground.all() == before

    def _check_that_none_ran_twice(self) -> None:
        for file in self._ground.data_dir.glob("volumes/local/*/lives"):
            lives = Counter(file.read_text().splitlines())
            assert lives
            assert max(lives.values()) == 1


@contextmanager
def soaking(path: Path, runtime: str, seed: int) -> Iterator[Soak]:
    """On a network of its own. Whatever happens, nothing is left on the machine."""
    ground = Ground(f"orc-soak-{uuid.uuid4().hex[:8]}", path / "agent", BRIDGE)
    with own_network(), serving_registry(path / "registry") as registry:
        registry.push(build(path / "layout", "app"), "app:1")
        soak = Soak(ground, registry, runtime, seed)
        try:
            yield soak
        finally:
            soak.lives.close()
            ground.remove()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("runtime", "starts"),
    [("crun", 1000), ("runc", 100), ("youki", 100)],
)
async def test_after_many_starts_and_stops_with_kills_nothing_is_left(
    runtime: str, starts: int, tmp_path: Path
) -> None:
    skip_without(runtime)
    cni_bin_dir()
    seed = int(os.environ.get("ORC_SOAK_SEED") or random.randrange(2**32))
    print(f"to do this again: ORC_SOAK_SEED={seed}")
    with soaking(tmp_path, runtime, seed) as soak:
        await soak.run(starts)
