"""An agent may be shielded from being killed for want of memory; what it runs is not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import ProcessWorld, until_exited
from tests.support.oci import printed

ONE = "default.web.0.1.main"


@contextmanager
def shielded() -> Iterator[None]:
    score = Path("/proc/self/oom_score_adj")
    before = score.read_text()
    try:
        score.write_text("-100")
    except OSError:
        pytest.skip("only root with CAP_SYS_RESOURCE may shield a process")
    try:
        yield
    finally:
        score.write_text(before)


async def test_what_a_shielded_agent_starts_is_not_shielded(tmp_path: Path) -> None:
    world = ProcessWorld(tmp_path / "containers", str(uuid.uuid4()))
    runtime = await world.open()
    with shielded():
        await runtime.create(world.spec(ONE, "cat /proc/self/oom_score_adj"))
    await until_exited(runtime, ONE)
    assert await printed(runtime, ONE) == ["0"]
    await world.aclose()
