"""An agent that runs images, to be killed:
`python -m tests.support.oci_agent_process <directory> <name> <runtime> <log bytes> <spec>...`.

It creates the containers of an `OciWorld` at once, prints `created` and sleeps. With
`--die <seconds>` before the specs it kills itself, that long after it has begun.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.runtime.protocol import ContainerSpec
from tests.support.oci import OciWorld

SPECS = TypeAdapter(ContainerSpec)


async def main(directory: str, name: str, runtime: str, log_bytes: str, *specs: str) -> None:
    world = OciWorld(Path(directory), name, runtime, log_bytes=int(log_bytes))
    opened = await world.open()
    if specs[:1] == ("--die",):
        asyncio.get_running_loop().call_later(float(specs[1]), os.kill, os.getpid(), signal.SIGKILL)
        specs = specs[2:]
    async with asyncio.TaskGroup() as creating:
        for spec in specs:
            creating.create_task(opened.create(SPECS.validate_json(spec)))
    print("created", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
