"""Logs that never end a process, and the event loop's own lag."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from orchestrator.process.clock import boottime
from orchestrator.process.logs import configure_logs
from orchestrator.process.metrics import LoopLag
from orchestrator.process.settings import ProcessSettings


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers, logging.raiseExceptions = handlers, True
    logging.root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_line_says_when_and_who(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(ProcessSettings(log_format="json"), role="agent", node="n1")
    structlog.get_logger().info("created", instance="default.web.0.1", reason="scaled up")
    structlog.get_logger().debug("not at this level")
    logging.getLogger("asyncio").warning("slow callback %s", "f")
    ours, foreign = lines(capsys)
    assert ours["event"] == "created"
    assert (ours["role"], ours["node"], ours["level"]) == ("agent", "n1", "info")
    assert ours["time"].endswith("Z")
    assert (foreign["event"], foreign["role"]) == ("slow callback f", "agent")


def test_a_full_disk_loses_lines_only() -> None:
    survived = []
    configure_logs(ProcessSettings(log_format="json"), role="agent")
    handler = logging.root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:
        handler.setStream(full)
        structlog.get_logger().info("lost")
        survived.append(True)
    assert survived


async def test_lag_of_a_busy_loop_is_seen() -> None:
    registry = CollectorRegistry()
    measuring = asyncio.create_task(LoopLag(registry, boottime).run())

    def seen() -> float:
        return registry.get_sample_value("orchestrator_event_loop_lag_seconds_count") or 0.0

    async with asyncio.timeout(30):
        while not seen():
            await asyncio.sleep(0.01)
    measuring.cancel()
