"""`ContainerRuntime`: the seam between an agent and whatever runs containers on its node.

Implementations: `process` (plain processes, each under a small supervisor that outlives the
agent), `oci` (any OCI runtime's command line, each container under conmon), `simulated`, and
`by_kind`, which hands each container to the one that its spec needs. What they share is in
`held`; one contract suite runs on all.

Every method may be repeated: creating what exists, stopping what has stopped and removing what
is gone are answers, not errors. What the node cannot do raises `model.errors.RuntimeError`
with a sentence for the instance's status.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from orchestrator.model import errors
from orchestrator.model.container import NetworkMode, SharedNamespace, Volume
from orchestrator.model.instance import PortBinding
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.watching import Trace


class ContainerState(StrEnum):
    CREATED = "created"
    """Written to disk, not yet running: a start that was interrupted."""
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Isolation:
    """What a container made of an image has besides.

    `image` is `<repository>@sha256:<digest of the manifest or index>`, whatever tag the template
    names. `config` is the template's own; the other four hold for the whole instance.
    """

    image: str
    config: ContainerConfig
    volumes: tuple[Volume, ...] = ()
    network: NetworkMode = NetworkMode.BRIDGE
    shared: tuple[SharedNamespace, ...] = ()
    user_namespace: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """All that is needed to run one container, and to recognise it after a restart of the agent.

    `id` is `<instance>.<container>`. `assignment` is the create_revision of the instance's
    assignment: it tells apart two lives of one name. `siblings` is how many containers the
    instance has in all, this one included. `isolation` None: a plain process.

    `argv` is the template's command and args, and `env` what we and the template set: complete
    for a plain process. An image's entrypoint stands before an argv without a command, an empty
    one is the image's, and `env` stands over the image's own.
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
    isolation: Isolation | None = None


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What is known of one container. Times are seconds since 1970 on this node. `address` is
    its instance's own on the node's network; empty if it has the node's, or none.

    `exit_code` is 128 + n for signal n, and None while it runs or when nobody saw it end;
    `reason` then says why. `last_stderr` is the line with which it failed, fit to be shown: of one
    that ended well, or by SIGTERM or SIGKILL, it is empty. `outlived_grace`: it had to be killed,
    as it did not end when it was told to.
    """

    spec: ContainerSpec
    state: ContainerState
    pid: int | None = None
    exit_code: int | None = None
    reason: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    last_stderr: str = ""
    address: str = ""
    is_oom_killed: bool = False
    outlived_grace: bool = False


@dataclass(frozen=True, slots=True)
class LogLine:
    """`time` is RFC 3339 with nanoseconds, `stream` is stdout or stderr, `text` has no newline."""

    time: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines: from `since` on (seconds since 1970), of those the last `tail`; then, with
    `follow`, those that come."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None


ALL_LINES = LogQuery()


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command to run inside a running container, beside its own. `rows` and `columns` are the
    terminal's, if `tty`; an empty `user` or `working_dir` is the container's own."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    stdin: bool = False
    rows: int = 24
    columns: int = 80


class NotExecuted(errors.RuntimeError):
    """A command cannot be started in a container. `exit_code` is what a shell would give: 127 for
    one that is not found, else 126."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Streams(Protocol):
    """The standard streams of a command in a container, or of the container itself. Closing lets
    go: of an attached container, which goes on; of a command by exec, which is killed."""

    def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Pieces as they come, each with its stream (stdout or stderr), until its end."""
        ...

    async def write(self, piece: bytes) -> None:
        """To its standard input. What it no longer reads is dropped."""
        ...

    async def end_input(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None:
        """Of its terminal; nothing happens without one."""
        ...

    async def exit_code(self) -> int | None:
        """Once it has ended: 128 + n for signal n. None if nobody saw it."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """What a running container uses now. `cpu_seconds` is what it has used since its start;
    `memory_mb` is its working set; what its runtime cannot tell is None."""

    id: str
    instance: str
    container: str
    cpu_seconds: float
    memory_mb: float
    memory_limit_mb: float | None = None
    processes: int | None = None


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

    async def list(self) -> Sequence[ContainerStatus]:
        """All containers, by id."""
        ...

    def logs(self, container_id: str, query: LogQuery = ALL_LINES) -> AsyncGenerator[LogLine, None]:
        """Lines so far, over rotated files; then, with `follow`, those that come until the
        container has exited. Close it to let go of it earlier. Raises `RuntimeError` if there is
        no such container, and none in `kept_logs`."""
        ...

    async def kept_logs(self) -> Sequence[str]:
        """The ids of what was removed and can still be read: in each slot, the newest of each
        container (see `previous_logs`)."""
        ...

    async def exec(self, container_id: str, request: ExecRequest) -> Streams:
        """Raises `RuntimeError` if it does not run, and `NotExecuted` if the command cannot."""
        ...

    async def attach(self, container_id: str) -> Streams:
        """To what runs: its output from now on, and its input if its config has `stdin`."""
        ...

    async def usage(self) -> Sequence[ContainerUsage]:
        """Of all that run, by id."""
        ...

    def problem(self) -> str:
        """Why nothing can be started on this node now, with what to do; empty if it can. Asked
        often, and answered at once."""
        ...

    def trace(self, spec: ContainerSpec) -> Trace:
        """Where a watchdog finds what runs of it, before it is created and ever after."""
        ...

    async def close(self) -> None:
        """Let go of every handle. No container is stopped."""
        ...
