"""`OciRuntime`: containers made of images, by any OCI runtime, each supervised by conmon."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.container_dir import delete_tree
from orchestrator.runtime.held import HoldingRuntime
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.log_files import read_log
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.oci.attaching import attach
from orchestrator.runtime.oci.command import RuntimeCommand, disappeared, probe
from orchestrator.runtime.oci.compiled_seccomp import CompiledSeccomp
from orchestrator.runtime.oci.conmon import ConmonCommand
from orchestrator.runtime.oci.container import OciContainer
from orchestrator.runtime.oci.exec import execute
from orchestrator.runtime.oci.logs import LogWatch
from orchestrator.runtime.oci.place import OciDir
from orchestrator.runtime.oci.sandboxes import Sandboxes
from orchestrator.runtime.oci.spec import argv
from orchestrator.runtime.oci.starting import Namespaces
from orchestrator.runtime.oci.terms import OciTerms
from orchestrator.runtime.oci.tools import Tools, cgroup_of, node_facts, prepare_view
from orchestrator.runtime.previous_logs import FOLDER, PreviousLogs
from orchestrator.runtime.process import problem_of_texts
from orchestrator.runtime.protocol import (
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    ExecRequest,
    LogLine,
    LogQuery,
    RuntimeReport,
    Streams,
)
from orchestrator.runtime.volumes.node_volumes import NodeVolumes
from orchestrator.runtime.watching import Trace

RUN = "containers"
"""In `run_dir`: a directory for each container."""

LOG_POLL_SECONDS = 0.2
MAX_ID_CHARACTERS = 240
"""What a file's name may be, less what runtimes add to it."""


class OciRuntime(HoldingRuntime[OciContainer]):
    """A `ContainerRuntime` with a directory for each container under `root`, which is its alone,
    and one under `terms.run_dir`.

    `network` is opened here, and `volumes` swept: only who knows which containers there are can
    say what is left over. `images` must be open by then.
    """

    def __init__(
        self,
        root: Path,
        terms: OciTerms,
        images: NodeImages,
        network: NodeNetwork,
        volumes: NodeVolumes,
    ) -> None:
        self._root = root.resolve()
        self._run = (terms.run_dir / RUN).resolve()  # runc takes no bundle behind a link
        self._previous = PreviousLogs(self._root / FOLDER)
        super().__init__({}, self._previous)
        self._terms = terms
        self._images = images
        self._network = network
        self._volumes = volumes
        self._opened: Tools | None = None

    def images_in_use(self) -> dict[str, set[str]]:
        """The ids of those that have an image or will in a moment, by its pinned reference."""
        users: dict[str, set[str]] = {}
        for container_id, container in self._containers.items():
            isolation = container.status.spec.isolation
            if isolation is not None and not container.place.is_down:
                users.setdefault(isolation.image, set()).add(container_id)
        return users

    def is_alive(self, container_id: str) -> bool:
        """Whether anything of it runs, or may: what a volume is held for."""
        container = self._containers.get(container_id)
        if container is not None:
            return not container.place.is_down
        return self._opened is not None and bool(self._opened.cgroup(container_id).pids())

    async def init_node(self) -> RuntimeReport:
        for path in (self._root, self._run):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tools = self._opened = self._opened or await self._open()
        await asyncio.to_thread(self._previous.open)
        found = await asyncio.to_thread(self._found, tools)
        for container in found:
            spec = container.status.spec
            self._containers[spec.id] = container
            tools.sandboxes.note(spec, is_down=container.place.is_down)
        await self._images.open()  # now that it can be told which of them are in use
        await self._network.open(tools.sandboxes.in_use())
        for container in found:
            if await self._is_half_made(tools, container):
                # should we die over it: the next agent is not to take what we kill for a failure
                await asyncio.to_thread(container.place.forget_process)
                await self._discard(container)
            else:
                container.adopt()
        await self._volumes.sweep(list(self._containers))
        for container in self._containers.values():
            await container.settled.wait()
        return self._report(tools)

    def problem(self) -> str:
        if self._opened is None:
            return ""
        programs = (self._opened.command.program, self._opened.conmon.program)
        gone = [each.path for each in programs if not os.access(each.path, os.X_OK)]
        return disappeared(gone[0]) if gone else ""

    def trace(self, spec: ContainerSpec) -> Trace:
        cgroup = cgroup_of(self._terms, spec.id)
        return Trace(str(self._root / spec.id), str(cgroup.directory))

    async def close(self) -> None:
        for container in self._containers.values():
            container.close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._network.close()

    def _begin(self, spec: ContainerSpec) -> OciContainer:
        tools = self._opened
        assert tools is not None, "init_node first"
        if (problem := self._problem(spec)) is not None:
            raise errors.RuntimeError(problem)
        place = self._place(spec.id)
        try:
            place.create(spec)
        except OSError as failure:
            with suppress(OSError):
                delete_tree(place.run)
                delete_tree(place.discard())
            raise errors.RuntimeError(f"{spec.id} cannot be started: {failure}") from failure
        container = self._held(tools, place, spec)
        container.start()
        return container

    def _read(self, container: OciContainer, query: LogQuery) -> AsyncGenerator[LogLine, None]:
        path = container.place.path
        return read_log(path, query, lambda: container.may_write_more(LOG_POLL_SECONDS))

    async def _exec(self, container: OciContainer, request: ExecRequest) -> Streams:
        assert self._opened is not None
        return await execute(self._opened, container, request)

    async def _attach(self, container: OciContainer) -> Streams:
        return await attach(container)

    async def _usage(self, container: OciContainer) -> ContainerUsage | None:
        assert self._opened is not None
        spec = container.status.spec
        usage = self._opened.cgroup(spec.id).usage()
        if usage is None:
            return None
        limit = usage.memory_limit_bytes
        return ContainerUsage(
            spec.id,
            spec.instance,
            spec.container,
            usage.cpu_seconds,
            usage.memory_bytes / 1e6,
            None if limit is None else limit / 1e6,
            usage.processes,
        )

    async def _clear_away(self, container: OciContainer) -> None:
        """Raises `RuntimeError` while something of it cannot be undone; then it is still held."""
        spec = container.status.spec
        try:
            await self._discard(container)
        except errors.RuntimeError:
            self._containers.setdefault(spec.id, container)
            raise

    async def _discard(self, container: OciContainer) -> None:
        assert self._opened is not None
        spec = container.status.spec
        await container.finish_taking_down()
        await self._opened.sandboxes.forget(spec)
        container.close()
        self._previous.keep(container.place.path, spec.id)
        self._containers.pop(spec.id, None)
        await asyncio.to_thread(self._delete, container.place.discard())

    def _delete(self, gone: Path) -> None:
        delete_tree(gone)
        self._previous.sweep()

    async def _open(self) -> Tools:
        terms = self._terms
        if os.geteuid() != 0:
            raise errors.RuntimeError(
                "containers made of images take root: run the agent as root, or without an OCI"
                " runtime (--oci-runtime none)"
            )
        program = await probe(terms.runtime, "the OCI runtime")
        monitor = await probe(terms.conmon, "conmon", name="conmon")
        state_dir = terms.run_dir / program.name
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        prepare_view(terms.run_dir)
        command = RuntimeCommand(program, terms.runtime_args, state_dir)
        return Tools(
            terms,
            command,
            ConmonCommand(monitor, program.path, command.args, terms.log_bytes),
            CompiledSeccomp(program.name, state_dir),
            node_facts(program.name),
            LogWatch(terms.log_files),
            self._images,
            self._network,
            self._volumes,
            Sandboxes(self._network),
        )

    def _report(self, tools: Tools) -> RuntimeReport:
        programs = (tools.command.program, tools.conmon.program)
        return RuntimeReport(("oci",), {each.name: each.version for each in programs})

    def _found(self, tools: Tools) -> tuple[OciContainer, ...]:
        """What is on disk and not in memory. What means nothing is deleted."""
        found = []
        for path in sorted(self._root.iterdir()):
            place = self._place(path.name)
            if not path.is_dir() or path.name in {FOLDER, *self._containers}:
                continue
            if path.name.startswith(".") or (spec := place.spec()) is None:
                delete_tree(path)
            else:
                found.append(self._held(tools, place, spec))
        known = {each.status.spec.id for each in (*found, *self._containers.values())}
        for path in self._run.iterdir():
            if path.name not in known:
                delete_tree(path)
        return tuple(found)

    async def _is_half_made(self, tools: Tools, container: OciContainer) -> bool:
        """Whether its command was never told to run."""
        place = container.place
        if place.is_half_made:
            return True
        process = place.process()
        if place.end() is not None or place.is_started or process is None or not process.is_alive:
            return False
        return await tools.command.is_created_only(container.status.spec.id)

    def _place(self, container_id: str) -> OciDir:
        return OciDir(self._root / container_id, self._run / container_id)

    def _held(self, tools: Tools, place: OciDir, spec: ContainerSpec) -> OciContainer:
        return OciContainer(tools, place, spec, self._joins, self._woken)

    async def _joins(self, spec: ContainerSpec) -> Namespaces:
        """Those of a container of its instance that was begun before it, if there is one."""
        assert spec.isolation is not None
        if not spec.isolation.shared:
            return {}
        for container in list(self._containers.values()):
            other = container.status.spec
            if other.id == spec.id:
                return {}
            if other.instance != spec.instance or other.assignment != spec.assignment:
                continue
            await container.settled.wait()
            pid = container.status.pid
            if container.status.state is not ContainerState.RUNNING or pid is None:
                raise errors.RuntimeError(
                    f"it shares namespaces with {other.container}, which does not run"
                )
            return dict.fromkeys(spec.isolation.shared, pid)
        return {}

    def _problem(self, spec: ContainerSpec) -> str | None:
        """Why it cannot be started, before anything is tried."""
        isolation = spec.isolation
        assert isolation is not None  # by_kind hands us no other
        if "/" in spec.id or spec.id.startswith(".") or len(spec.id) > MAX_ID_CHARACTERS:
            return f"{spec.id!r} cannot be a container's id"
        if isolation.config.security.privileged and not self._terms.allow_privileged:
            return (
                "this node runs no privileged containers: start its agent with --allow-privileged,"
                " or place the workload on a node that does"
            )
        image = self._images.image(isolation.image)
        if image is None:
            return f"image {isolation.image} is not on this node any more: it must be pulled"
        if not argv(spec, image.config):
            return f"{spec.id} has no command, and its image none either: give it a `command`"
        if (problem := problem_of_texts(spec)) is not None:
            return problem
        if isolation.config.init and self._terms.init_program is None:
            return (
                "it asks for an init, and this node has none: install a static one (tini,"
                " catatonit) and name it with --init-program"
            )
        return None
