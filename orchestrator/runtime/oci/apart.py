"""Mount namespaces of their own for what starts containers.

Theory of operation
-------------------
A container's root is mounted in a mount namespace that only its conmon lives in; the runtime,
which conmon starts, finds it there. When conmon and the container are gone, so is the namespace
with its mounts, whoever was killed in between: there is nothing to unmount and nothing to sweep,
and a rootfs can never be busy. What the node mounts and unmounts later is seen there as far as
its mounts are shared, which is the default under systemd.

A thread enters such a namespace, mounts, starts a process, which inherits it, and goes back.
No process is spent on it (`unshare` and a shell cost 8 ms for each call of a runtime).

The namespace is also where a hybrid host's cgroup2 mount can be hidden from crun, which refuses
to work beside it and is content with v1. It is covered, not unmounted: into what lies below it,
which is the whole machine's, crun would write a directory for each container, with pids in it
that nobody ever takes away.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator.runtime import syscalls

Result = TypeVar("Result")


class Apart:
    """`hidden` are directories of which nothing must be seen."""

    def __init__(self, hidden: Sequence[str] = ()) -> None:
        self.hidden = tuple(hidden)
        self._node = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._threads = ThreadPoolExecutor(os.cpu_count(), "apart")

    async def run(self, work: Callable[[], Result]) -> Result:
        """`work` in a thread, in a mount namespace that is gone afterwards unless a process that
        `work` has started is in it. It is not interrupted when its caller is."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._threads, self._apart, work))

    def close(self) -> None:
        self._threads.shutdown()
        os.close(self._node)

    def _apart(self, work: Callable[[], Result]) -> Result:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        try:
            syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE, "")
            for path in self.hidden:
                syscalls.mount("tmpfs", path, "tmpfs", 0, "mode=0755,size=64k")
            return work()
        finally:
            syscalls.setns(self._node, syscalls.CLONE_NEWNS)
