"""`python -m tests.support.agent_process <root> <spec as JSON>...`: an agent to be killed.

It creates the containers, prints `created` and sleeps. With `--die` before the specs it is killed
as soon as it has started them. With `--exec <script>` before them it runs that in the first one,
before it says `created`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerSpec, ExecRequest

SPECS = TypeAdapter(ContainerSpec)


async def main(root: str, *specs: str) -> None:
    runtime = ProcessRuntime(Path(root))
    await runtime.init_node()
    dies = specs[0] == "--die"
    script = specs[1] if specs[0] == "--exec" else ""
    read = [SPECS.validate_json(spec) for spec in specs if spec.startswith("{")]
    creating = [asyncio.create_task(runtime.create(spec)) for spec in read]
    if dies:
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.gather(*creating)
    if script:
        await runtime.exec(read[0].id, ExecRequest(("sh", "-c", script)))
    print("created", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
