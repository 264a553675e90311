"""`python -m tests.support.soak_agent <settings as JSON>`: an agent alone, to be killed.

It has the runtime that a real agent has, does what its standard input says, all at once, and
answers each line when that is done:

    {"number": 3, "do": "create", "spec": {...}}    create, stop, remove: as the runtime has them
    {"number": 4, "do": "wait", "id": "..."}        until it has ended
    {"number": 5, "do": "log", "id": "..."}         what it has printed
    {"number": 6, "do": "pull", "image": "..."}     and pin

The first answer, number 0, comes when it is ready: what it has found.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from orchestrator.agent.home import AgentHome
from orchestrator.entry.containers import NodeContainers, node_containers
from orchestrator.model import errors
from orchestrator.model.container import PullPolicy
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.logs import configure_logs
from orchestrator.runtime.protocol import ContainerSpec, ContainerState, ContainerStatus

SPEC = TypeAdapter(ContainerSpec)
STATUSES = TypeAdapter(tuple[ContainerStatus, ...])

MAX_LINE_BYTES = 1 << 20


class Agent:
    def __init__(self, containers: NodeContainers) -> None:
        self._runtime = containers.runtime
        self._images = containers.images
        self._changed = asyncio.Condition()
        self._waking: set[asyncio.Task[None]] = set()

    async def run(self, orders: asyncio.StreamReader) -> None:
        """Until there are no more."""
        self._runtime.on_change(self._wake)
        await self._runtime.init_node()
        self._answer(0, found=STATUSES.dump_python(tuple(await self._runtime.list()), mode="json"))
        async with asyncio.TaskGroup() as doing:
            while line := await orders.readline():
                doing.create_task(self._obey(json.loads(line)))
        await self._runtime.close()

    async def _obey(self, order: Mapping[str, Any]) -> None:
        try:
            answer = await self._do(order)
        except errors.RuntimeError as failure:
            answer = {"failure": str(failure)}
        self._answer(order["number"], **answer)

    async def _do(self, order: Mapping[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "create":
                return _told(await self._runtime.create(SPEC.validate_python(order["spec"])))
            case "stop":
                await self._runtime.stop(order["id"], order["grace_seconds"])
            case "remove":
                await self._runtime.remove(order["id"])
            case "wait":
                return _told(await self._ended(order["id"]))
            case "log":
                return {"lines": [line.text async for line in self._runtime.logs(order["id"])]}
            case "pull":
                return {"pinned": await self._pulled(order["image"])}
            case unknown:
                raise AssertionError(unknown)
        return {}

    async def _ended(self, container_id: str) -> ContainerStatus:
        async with self._changed:
            while True:
                status = await self._runtime.status(container_id)
                if status is None:
                    raise errors.RuntimeError(f"{container_id} is not here")
                if status.state is ContainerState.EXITED:
                    return status
                await self._changed.wait()

    async def _pulled(self, image: str) -> str:
        assert self._images is not None
        pinned = await self._images.resolve(image, PullPolicy.IF_NOT_PRESENT)
        return (await self._images.pull(pinned, name=image)).pinned

    def _wake(self) -> None:
        waking = asyncio.create_task(self._notify())
        self._waking.add(waking)
        waking.add_done_callback(self._waking.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _answer(self, number: int, **answer: Any) -> None:
        print(json.dumps({"number": number, **answer}), flush=True)


def _told(status: ContainerStatus) -> dict[str, Any]:
    (told,) = STATUSES.dump_python((status,), mode="json")
    return {"status": told}


async def main(settings: str) -> None:
    parsed = AgentSettings(**json.loads(settings))
    configure_logs(parsed)  # its standard output is for answers
    orders = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    with AgentHome(parsed.data_dir, random.Random()) as home:
        await Agent(node_containers(parsed, home)).run(orders)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
