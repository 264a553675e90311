"""`orc down`: stop a local cluster, and whatever one that was killed has left behind."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from orchestrator.local.data_dir import DataDir
from orchestrator.local.record import ProcessRecord, in_order, read_record
from orchestrator.model.errors import StateError
from orchestrator.runtime.process import ProcessRuntime

LIMIT_SECONDS = 180.0
PROGRESS_SECONDS = 5.0
KILL_AFTER_SECONDS = 30.0
ORPHAN_GRACE_SECONDS = 5.0


async def down(data_dir: DataDir, say: Callable[[str], None]) -> None:
    """Raises `StateError` when something does not stop, or is another user's."""
    if not data_dir.is_ours:
        say(f"there is no local cluster in {data_dir.path}")
        return
    record = read_record(data_dir)
    groups = in_order(record.running() if record else [])
    supervisors, *others = groups
    for group in [supervisors] if supervisors else others:
        _stop(group, say, limit_seconds=LIMIT_SECONDS if supervisors else KILL_AFTER_SECONDS)
    with data_dir.locked():
        stopped = await stop_orphans(data_dir)
        data_dir.cluster_file.unlink(missing_ok=True)
    if stopped:
        say(f"stopped {stopped} instances that had lost their agent")
    if any(groups):
        say(f"stopped; the data stays in {data_dir.path}")
    elif not stopped:
        say(f"nothing runs on {data_dir.path}")


def _stop(group: list[ProcessRecord], say: Callable[[str], None], limit_seconds: float) -> None:
    """SIGTERM and wait; SIGKILL for what is left after the limit."""
    waiting = {each.title: process for each in group if (process := each.process())}
    for title, process in waiting.items():
        say(f"stopping {title} (pid {process.pid})")
        _ask(process.terminate, title)
    deadline = time.monotonic() + limit_seconds
    while waiting and time.monotonic() < deadline:
        psutil.wait_procs(list(waiting.values()), timeout=PROGRESS_SECONDS)
        waiting = {title: process for title, process in waiting.items() if process.is_running()}
        if waiting:
            say(f"still waiting for {', '.join(waiting)}")
    for title, process in waiting.items():
        say(f"{title} does not stop: killing it")
        _ask(process.kill, title)


def _ask(signal: Callable[[], None], title: str) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise StateError(
            f"{title} runs as another user: stop it as that user, or as root"
        ) from None


async def stop_orphans(data_dir: DataDir) -> int:
    """Stop the instances whose agent was killed: they outlive it by design. Returns how many."""
    stopped = 0
    for agent in sorted(data_dir.agent("").glob("*")):
        runtime = ProcessRuntime(agent / "containers")
        await runtime.init_node()
        stopped += sum(each.finished_at is None for each in await runtime.list())
        await runtime.stop_all(ORPHAN_GRACE_SECONDS)
        await runtime.close()
    return stopped
