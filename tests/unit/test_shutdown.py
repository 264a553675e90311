"""The frame of a process: signals, exit codes, and what a person reads when it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.process.shutdown import run_until

pytestmark = pytest.mark.slow

FRAME = """
import asyncio, sys
from orchestrator.model.errors import ConfigError
from orchestrator.process.logs import configure_logs
from orchestrator.process.settings import ProcessSettings
from orchestrator.process.shutdown import run_process

configure_logs(ProcessSettings(log_format="json"), role="test")

async def main(stop):
{body}

def on_second_signal():
    print("at once", flush=True)

run_process(main, reported=(LookupError,), on_second_signal=on_second_signal)
"""


@contextmanager
def process(body: str) -> Iterator[subprocess.Popen[str]]:
    program = FRAME.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def outcome(body: str) -> tuple[int, str]:
    with process(body) as child:
        _, errors = child.communicate(timeout=30)
        return child.returncode, errors


def test_the_end_of_main_is_success() -> None:
    assert outcome("return") == (0, "")


@pytest.mark.parametrize(
    "body",
    [
        "raise ConfigError('give a name')",
        "raise LookupError('give a name')",
        """
        async def fail():
            raise ConfigError('give a name')
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            tasks.create_task(asyncio.sleep(60))
        """,
    ],
)
def test_what_a_user_can_cause_is_one_sentence(body: str) -> None:
    assert outcome(body) == (1, "error: give a name\n")


def test_a_bug_is_logged_with_its_traceback() -> None:
    code, errors = outcome("raise ZeroDivisionError('oh')")
    line = json.loads(errors)
    assert code == 70
    assert line["event"] == "ended by a bug"
    assert line["role"] == "test"
    assert "ZeroDivisionError: oh" in line["exception"]


def test_a_bug_beside_a_users_slip_stays_a_bug() -> None:
    code, _ = outcome(
        "raise ExceptionGroup('two', [ConfigError('a'), KeyError('b'), ValueError()])"
    )
    assert code == 70


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_asks_main_to_stop(number: signal.Signals) -> None:
    body = """
    print("ready", flush=True)
    await stop.wait()
    print("in order", flush=True)
    """
    with process(body) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        rest, errors = child.communicate(timeout=30)
        assert (rest, child.returncode) == ("in order\n", 0)
        assert json.loads(errors)["signal"] == number.name


def test_the_second_signal_ends_at_once() -> None:
    body = """
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()
    """
    with process(body) as child:
        assert child.stdout
        for awaited in ("ready\n", "stopping\n"):
            assert child.stdout.readline() == awaited
            child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "at once\n"
        assert child.wait(timeout=30) == 128 + signal.SIGTERM


async def test_run_until_cancels_and_waits_for_the_cleanup() -> None:
    stop, started = asyncio.Event(), asyncio.Event()
    cleaned = []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    running = asyncio.create_task(run_until(stop, work()))
    await started.wait()
    stop.set()
    await running
    assert cleaned == [True]


async def test_run_until_passes_on_how_the_work_ended() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await run_until(asyncio.Event(), fail())
    await run_until(asyncio.Event(), asyncio.sleep(0))
