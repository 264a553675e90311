"""`RuntimeByKind`: each container to the runtime that its spec needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from orchestrator.model import errors
from orchestrator.runtime.oci.runtime import OciRuntime
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import (
    ALL_LINES,
    ContainerSpec,
    ContainerStatus,
    ContainerUsage,
    ExecRequest,
    LogLine,
    LogQuery,
    RuntimeReport,
    Streams,
)
from orchestrator.runtime.watching import Trace

Part = ProcessRuntime | OciRuntime


class RuntimeByKind:
    """A `ContainerRuntime` of two: plain processes, and images where the node can run them."""

    def __init__(self, process: ProcessRuntime, oci: OciRuntime | None) -> None:
        self._process = process
        self._oci = oci
        self._parts: tuple[Part, ...] = (process,) if oci is None else (process, oci)

    async def init_node(self) -> RuntimeReport:
        reports = await asyncio.gather(*(part.init_node() for part in self._parts))
        versions = {name: text for report in reports for name, text in report.versions.items()}
        return RuntimeReport(tuple(kind for each in reports for kind in each.kinds), versions)

    def on_change(self, wake: Callable[[], None]) -> None:
        for part in self._parts:
            part.on_change(wake)

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        if spec.isolation is None:
            return await self._process.create(spec)
        if self._oci is None:
            raise errors.RuntimeError(
                f"{spec.id} is made of an image, and this node runs none: give its agent an OCI"
                " runtime (--oci-runtime)"
            )
        return await self._oci.create(spec)

    async def stop(self, container_id: str, grace_seconds: float) -> None:
        await (await self._holder(container_id)).stop(container_id, grace_seconds)

    async def stop_all(self, grace_seconds: float) -> None:
        await asyncio.gather(*(part.stop_all(grace_seconds) for part in self._parts))

    async def remove(self, container_id: str) -> None:
        await (await self._holder(container_id)).remove(container_id)

    async def status(self, container_id: str) -> ContainerStatus | None:
        return await (await self._holder(container_id)).status(container_id)

    async def list(self) -> Sequence[ContainerStatus]:
        lists = [await part.list() for part in self._parts]  # from memory: nothing to overlap
        return sorted((each for some in lists for each in some), key=lambda each: each.spec.id)

    def logs(self, container_id: str, query: LogQuery = ALL_LINES) -> AsyncGenerator[LogLine, None]:
        """Raises `RuntimeError` if there is no such container, nor a log of one."""
        for part in self._parts[:-1]:
            try:
                return part.logs(container_id, query)
            except errors.RuntimeError:
                continue
        return self._parts[-1].logs(container_id, query)

    async def kept_logs(self) -> Sequence[str]:
        kept = await asyncio.gather(*(part.kept_logs() for part in self._parts))
        return sorted(name for names in kept for name in names)

    async def exec(self, container_id: str, request: ExecRequest) -> Streams:
        return await (await self._holder(container_id)).exec(container_id, request)

    async def attach(self, container_id: str) -> Streams:
        return await (await self._holder(container_id)).attach(container_id)

    async def usage(self) -> Sequence[ContainerUsage]:
        measured = await asyncio.gather(*(part.usage() for part in self._parts))
        return sorted((each for some in measured for each in some), key=lambda each: each.id)

    def problem(self) -> str:
        return next(filter(None, (part.problem() for part in self._parts)), "")

    def trace(self, spec: ContainerSpec) -> Trace:
        part = self._process if spec.isolation is None else self._oci or self._process
        return part.trace(spec)

    async def close(self) -> None:
        for part in self._parts:
            await part.close()

    async def _holder(self, container_id: str) -> Part:
        """Of one that nobody holds, plain processes answer as well as any."""
        if self._oci is not None and await self._oci.status(container_id) is not None:
            return self._oci
        return self._process
