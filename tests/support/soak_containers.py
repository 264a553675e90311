"""What the containers of a soak do, and what must be known of each when it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from orchestrator.model.container import (
    Mount,
    NetworkMode,
    SharedNamespace,
    Volume,
    VolumeKind,
)
from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import ContainerConfig, Protocol
from orchestrator.runtime.oci.verdict import UNSEEN
from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus, Isolation

MARK = "SOAK"
KILLED, TERMINATED, WITHOUT_READER, TOLD_CODE = 137, 143, 141, 43
FIRST_PORT, PORTS_A_LANE = 15_000, 4  # below those of `free_port`

# It looks between two lines whether it was told to end: so its last line says how many there were.
WORK = """\
[ -d /data ] && echo $0 >> /data/lives
trap 'told=yes' TERM; n=0
while [ -z "$told" ] && [ $n -lt $LINES ]; do echo line $n; n=$((n+1)); sleep $PAUSE; done
echo all $n; [ -n "$told" ] && exit 43; exit $CODE"""
DEAF = "trap '' TERM; n=0; while :; do echo line $n; n=$((n+1)); sleep 0.1; done"

DATA = Volume("data", VolumeKind.LOCAL)
SCRATCH = Volume("scratch", VolumeKind.TMPFS, size_mb=1.0)
PATHS = {DATA: "/data", SCRATCH: "/scratch"}


class End(StrEnum):
    ITS_OWN = "by itself"
    TOLD = "told to"
    BY_FORCE = "deaf to what it is told"
    REMOVED = "removed while it runs"


@dataclass
class Subject:
    """One container. `is_hurt`: something of it, or of what it shares with another, was killed by
    somebody else than its agent; then less can be known."""

    spec: ContainerSpec
    end: End
    code: int
    is_hurt: bool = False
    is_created: bool = False
    is_going: bool = False
    is_gone: bool = False

    def check_status(self, status: ContainerStatus) -> None:
        if not self.is_hurt:
            assert status.exit_code == self.code, status
        elif status.started_at is not None:
            known = {self.code, KILLED, TERMINATED, WITHOUT_READER, TOLD_CODE}
            assert status.exit_code in known or status.reason == UNSEEN, status

    def check_lines(self, lines: Sequence[str]) -> None:
        """None is missing between two others, and none comes twice. A shell whose own child was
        hurt says so."""
        lines = [each for each in lines if not (self.is_hurt and each == "Killed")]
        count = sum(line.startswith("line ") for line in lines)
        expected = [f"line {n}" for n in range(count)]
        must_be_whole = self.end in {End.ITS_OWN, End.TOLD} and not self.is_hurt
        if must_be_whole or (self.is_hurt and lines[-1:] == [f"all {count}"]):
            expected.append(f"all {count}")
        assert lines == expected, (self.spec.id, self.end, self.is_hurt, lines)


class Subjects:
    """Makes those of one lane, an instance after the other, each of one or two containers.
    `mark` is in the environment of all that they run."""

    def __init__(self, image: str, mark: str, lane: int, rng: Random) -> None:
        self._image = image
        self._mark = mark
        self._lane = lane
        self._rng = rng
        self._attempt = 0

    def next(self) -> list[Subject]:
        self._attempt += 1
        rng = self._rng
        names = ("one", "two") if rng.random() < 0.3 else ("one",)
        shared = tuple(SharedNamespace) if len(names) > 1 and rng.random() < 0.5 else ()
        network = rng.choices((*NetworkMode,), (8, 1, 1))[0]
        volumes = tuple(each for each in (DATA, SCRATCH) if rng.random() < 0.3)
        made = [self._subject(name, len(names), network, shared, volumes) for name in names]
        for each in made[1:]:
            each.is_hurt = SharedNamespace.PID in shared  # ends with the first
        return made

    def _subject(
        self,
        name: str,
        siblings: int,
        network: NetworkMode,
        shared: tuple[SharedNamespace, ...],
        volumes: tuple[Volume, ...],
    ) -> Subject:
        end = self._rng.choices((*End,), (40, 30, 10, 20))[0]
        own_code = self._rng.randrange(100)
        mounts = tuple(Mount(each.name, PATHS[each]) for each in volumes)
        config = ContainerConfig(name, image=self._image, mounts=mounts)
        instance = f"default.soak{self._lane}.0.{self._attempt}"
        is_short = end is End.ITS_OWN
        spec = ContainerSpec(
            id=f"{instance}.{name}",
            instance=instance,
            container=name,
            assignment=self._attempt,
            argv=("sh", "-c", DEAF if end is End.BY_FORCE else WORK, f"{instance}.{name}"),
            env={
                MARK: self._mark,
                "CODE": str(own_code),
                "LINES": str(self._rng.randrange(50) if is_short else 1_000_000),
                "PAUSE": "0.01" if is_short else "0.1",
            },
            siblings=siblings,
            isolation=Isolation(self._image, config, volumes, network, shared),
        )
        if network is NetworkMode.BRIDGE:
            spec = replace(spec, ports=tuple(self._ports(name)))
        code = {End.ITS_OWN: own_code, End.TOLD: TOLD_CODE}.get(end, KILLED)
        return Subject(spec, end, code)

    def _ports(self, container: str) -> Iterator[PortBinding]:
        first = FIRST_PORT + PORTS_A_LANE * self._lane + (2 if container == "two" else 0)
        protocols = (Protocol.TCP, Protocol.UDP)
        for number in range(self._rng.choice((0, 1, 1, 2))):
            yield PortBinding(container, 80 + number, first + number, protocols[number])
