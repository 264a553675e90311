"""`ContainerRuntime`: the seam between an agent and whatever runs containers on its node.

Implementations: `process` (plain processes, each under a small supervisor that outlives the
agent), `simulated`; OCI runtimes come behind the same seam. What they share is in `held`; one
contract suite runs on all.

Every method may be repeated: creating what exists, stopping what has stopped and removing what
is gone are answers, not errors. What the node cannot do raises `model.errors.RuntimeError`
with a sentence for the instance's status.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from orchestrator.model.instance import PortBinding
from orchestrator.model.resources import NodeResources


class ContainerState(StrEnum):
    CREATED = "created"
    """Written to disk, not yet running: a start that was interrupted."""
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """All that is needed to run one container, and to recognise it after a restart of the agent.

    `id` is `<instance>.<container>`. `assignment` is the create_revision of the instance's
    assignment: it tells apart two lives of one name. `argv` and `env` are complete. `siblings`
    is how many containers the instance has in all, this one included.
    """

    id: str
    instance: str
    container: str
    assignment: int
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    ports: tuple[PortBinding, ...] = ()
    limits: NodeResources = field(default_factory=NodeResources)
    siblings: int = 1
    stop_grace_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What is known of one container. Times are seconds since 1970 on this node.

    `exit_code` is 128 + n for signal n, and None while it runs or when nobody saw it end;
    `reason` then says why. `last_stderr` is the line with which it failed, fit to be shown: of one
    that ended well, or by SIGTERM or SIGKILL, it is empty.
    """

    spec: ContainerSpec
    state: ContainerState
    pid: int | None = None
    exit_code: int | None = None
    reason: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    last_stderr: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """`time` is RFC 3339 with nanoseconds, `stream` is stdout or stderr, `text` has no newline."""

    time: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """What a node can run: `kinds` (`process`, `oci`) and the versions behind them."""

    kinds: tuple[str, ...]
    versions: dict[str, str]


class ContainerRuntime(Protocol):
    async def init_node(self) -> RuntimeReport:
        """Probe, clean away what was half made, and take up what still runs."""
        ...

    def on_change(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever any container may have changed. It carries no news."""
        ...

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        """Create and start. The same spec again answers with what there is."""
        ...

    async def stop(self, container_id: str, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when nothing of it runs any more."""
        ...

    async def remove(self, container_id: str) -> None:
        """Forget a container that has exited, with its files. A running one is killed first."""
        ...

    async def status(self, container_id: str) -> ContainerStatus | None: ...

    async def list(self) -> list[ContainerStatus]:
        """All containers, by id."""
        ...

    def logs(
        self, container_id: str, *, follow: bool = False, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Lines so far (the last `tail`), over rotated files; then, with `follow`, those that come
        until the container has exited. Close it to let go of it earlier."""
        ...

    async def close(self) -> None:
        """Let go of every handle. No container is stopped."""
        ...
