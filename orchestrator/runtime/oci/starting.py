"""Starting one container: from its image, network and volumes to a process that runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.model import errors
from orchestrator.model.container import SharedNamespace
from orchestrator.runtime import syscalls
from orchestrator.runtime.container_dir import ProcessRecord
from orchestrator.runtime.images.node_images import Image
from orchestrator.runtime.network.terms import Sandbox
from orchestrator.runtime.oci import conmon, rootfs, words
from orchestrator.runtime.oci.command import disappeared
from orchestrator.runtime.oci.devices import DeviceNode, all_device_nodes, device_nodes
from orchestrator.runtime.oci.etc_files import hostname, write_etc_files
from orchestrator.runtime.oci.logs import begin_log
from orchestrator.runtime.oci.mounts import SHARED_MEMORY
from orchestrator.runtime.oci.place import OciDir, Preparation
from orchestrator.runtime.oci.spec import Place, argv, config_json, working_dir
from orchestrator.runtime.oci.tools import Tools
from orchestrator.runtime.oci.users import User, resolve_user
from orchestrator.runtime.protocol import ContainerSpec, Isolation
from orchestrator.runtime.volumes.local import FirstUse

Namespaces = Mapping[SharedNamespace, int]
"""The pid of the process whose namespace is joined, by kind."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`root` is its mounted root, open: to be put into a mount namespace, or closed."""

    image: Image
    user: User
    root: int
    sandbox: Sandbox | None
    mounts: list[dict[str, Any]]
    devices: tuple[DeviceNode, ...]


class Start:
    """One attempt; whatever it leaves behind is for `TakingDown` to find."""

    def __init__(self, tools: Tools, place: OciDir, spec: ContainerSpec) -> None:
        assert spec.isolation is not None
        self._tools = tools
        self._place = place
        self._spec = spec
        self._isolation: Isolation = spec.isolation

    async def prepare(self) -> Prepared:
        """All that takes the network or other programs. Raises `RuntimeError` and OSError."""
        image = self._tools.images.image(self._isolation.image)
        if image is None:
            raise errors.RuntimeError(
                f"image {self._isolation.image} is not on this node any more: it must be pulled"
            )
        devices = self._devices()
        user, root = await self._tools.command.apart.run(lambda: self._root(image))
        try:
            sandbox, mounts = await self._surroundings(self._first_use(user, root))
            stop_signal = signal_number(image.config.stop_signal)
            self._place.write_preparation(Preparation(sandbox, stop_signal))
            write_etc_files(self._place.run, hostname(self._spec.instance), sandbox)
        except BaseException:
            os.close(root)
            raise
        return Prepared(image, user, root, sandbox, mounts, devices)

    async def create(
        self, prepared: Prepared, shared: Namespaces
    ) -> tuple[ProcessRecord, ProcessRecord]:
        """Its process, which waits to be started, and its conmon. They are on disk then.

        Raises `RuntimeError` with a sentence, and OSError.
        """
        try:
            memory = await self._memory(shared.get(SharedNamespace.IPC))
            config = self._config(prepared, shared)
            config["annotations"] = self._tools.seccomp.annotations(config)
            launched = await self._tools.command.apart.run(
                lambda: self._launch(prepared.root, memory, config)
            )
        finally:
            os.close(prepared.root)
        async with _first_failure(), asyncio.TaskGroup() as both:
            if prepared.sandbox is not None and prepared.sandbox.address:
                both.create_task(self._publish(prepared.sandbox.address))
            creating = both.create_task(self._created(launched, prepared.image))
        init, monitor = creating.result()
        self._tools.seccomp.note(self._spec.id, config)
        self._place.write_processes(init, monitor)
        return init, monitor

    async def start(self, prepared: Prepared) -> None:
        """Let it run. Raises `RuntimeError` with a sentence."""
        try:
            await self._tools.command.start(self._spec.id)
        except errors.RuntimeError as failure:
            raise self._refused(str(failure), prepared.image) from failure
        self._place.mark_started()

    @property
    def _first_id(self) -> int | None:
        """The node's user that its root is, if that is another."""
        return self._tools.terms.user_ids_from if self._isolation.user_namespace else None

    def _root(self, image: Image) -> tuple[User, int]:
        begin_log(self._place.path)
        if self._first_id is None:
            rootfs.prepare_root(self._place, image.layers)
        else:
            rootfs.prepare_mapped_root(self._place, image.layers, self._first_id)
        root = rootfs.mount_root(self._place, len(image.layers))
        with suppress(OSError):  # the runtime will say what is in the way
            rootfs.make_directory(root, working_dir(self._spec, image.config))
        user = resolve_user(root, self._isolation.config.security.user or image.config.user)
        return user, rootfs.detached(root)

    def _first_use(self, user: User, root: int) -> FirstUse:
        first_id = self._first_id or 0
        return FirstUse(first_id + user.uid, first_id + user.gid, Path(f"/proc/self/fd/{root}"))

    async def _surroundings(
        self, first_use: FirstUse
    ) -> tuple[Sandbox | None, list[dict[str, Any]]]:
        tools, spec = self._tools, self._spec
        async with _first_failure(), asyncio.TaskGroup() as both:
            entering = both.create_task(tools.sandboxes.enter(spec, self._isolation.network))
            mounting = both.create_task(tools.volumes.mounts(spec, first_use))
        return entering.result(), mounting.result()

    def _devices(self) -> tuple[DeviceNode, ...]:
        config = self._isolation.config
        named = device_nodes(config.devices)
        if not config.security.privileged:
            return named
        paths = {each.path for each in named}
        return (*named, *(each for each in all_device_nodes() if each.path not in paths))

    def _config(self, prepared: Prepared, shared: Namespaces) -> dict[str, Any]:
        tools = self._tools
        place = Place(
            tools.seen_directory,
            tools.cgroup(self._spec.id).path,
            hostname(self._spec.instance) if prepared.sandbox is not None else "",
            prepared.user,
            netns=prepared.sandbox.netns if prepared.sandbox is not None else None,
            shared=shared,
            mounts=prepared.mounts,
            devices=prepared.devices,
            user_ids_from=self._first_id,
            init_program=tools.terms.init_program if self._isolation.config.init else None,
        )
        return config_json(
            self._spec,
            prepared.image.config,
            place,
            tools.facts,
            pids_limit=tools.terms.pids_limit,
            open_files=tools.terms.open_files,
        )

    async def _memory(self, pid: int | None) -> int | None:
        """That of the process `pid`, if it is shared."""
        if pid is None:
            return None
        (self._place.run / SHARED_MEMORY).mkdir()
        return await self._tools.command.apart.run(lambda: rootfs.shared_memory(pid))

    def _launch(self, root: int, memory: int | None, config: dict[str, Any]) -> conmon.Launched:
        run, own, seen = self._place.run, self._isolation.config, self._tools.seen_directory
        rootfs.attach(root, run, seen)
        if memory is not None:
            syscalls.put_mount(memory, str(seen / SHARED_MEMORY))
            os.close(memory)
        (run / "config.json").write_text(json.dumps(config))
        command = self._tools.conmon.argv(self._spec.id, self._place, tty=own.tty, stdin=own.stdin)
        return conmon.launch(command, run)

    async def _created(
        self, launched: conmon.Launched, image: Image
    ) -> tuple[ProcessRecord, ProcessRecord]:
        try:
            return await conmon.created(launched, self._place)
        except errors.RuntimeError as failure:
            raise self._refused(str(failure), image) from failure

    async def _publish(self, address: str) -> None:
        await self._tools.network.publish(self._spec.id, address, self._spec.ports)

    def _refused(self, said: str, image: Image) -> errors.RuntimeError:
        program = self._tools.command.program
        if not os.access(program.path, os.X_OK):
            return errors.RuntimeError(disappeared(program.path))
        command = argv(self._spec, image.config)[0]
        return errors.RuntimeError(words.refusal(said, command, program.name))


class _first_failure:  # noqa: N801 - a context manager that reads as what it lets through
    """Of several at once, one is told. Before Python 3.11.4 the group leaves its own request to
    cancel this task standing, which would end it at its next timeout."""

    async def __aenter__(self) -> None:
        self._cancelled_before = _this_task().cancelling()

    async def __aexit__(self, _kind: object, raised: object, _trace: object) -> None:
        if isinstance(raised, ExceptionGroup):
            while _this_task().cancelling() > self._cancelled_before:
                _this_task().uncancel()
            raise raised.exceptions[0] from None


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def signal_number(name: str) -> int:
    """Of an image's stop signal, by name or number; SIGTERM without one that exists."""
    text = name.strip().upper()
    if text.isdigit() and int(text) in signal.valid_signals():
        return int(text)
    full = text if text.startswith("SIG") else f"SIG{text}"
    found = getattr(signal, full, None)
    return int(found) if isinstance(found, signal.Signals) else int(signal.SIGTERM)
