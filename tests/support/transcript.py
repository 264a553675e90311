"""Transcripts: the console blocks of a document, run for real and compared line by line.

A line that begins with `$ ` is typed into one shell that lives as long as the document. What
follows is what it prints: `...` alone stands for any lines, within a line for any text, and runs
of blanks count as one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

READS = re.compile(r"(timeout \d+ )?(orc (get|describe|status|events|logs|ps)|curl)\b")
"""What may be asked again until it answers as written: the cluster takes its time."""


@dataclass(frozen=True, slots=True)
class Step:
    line: int
    command: str
    expected: tuple[str, ...]


def steps_of(document: str) -> list[Step]:
    steps: list[Step] = []
    command, began = "", 0
    expected: list[str] = []
    is_inside = False

    def finish() -> None:
        nonlocal command
        if command:
            steps.append(Step(began, command, tuple(expected)))
        command = ""

    for number, line in enumerate(document.splitlines(), start=1):
        if line.startswith("```"):
            finish()
            is_inside = line == "```console"
        elif is_inside and line.startswith("$ "):
            finish()
            command, expected, began = line[2:], [], number
        elif is_inside:
            expected.append(line)
    return steps


def matches(expected: tuple[str, ...], actual: str) -> bool:
    """Whether what was printed is what was written."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == "..." else f"{_line_pattern(line)}\n"
        for line in expected
    )
    text = "".join(f"{' '.join(line.split())}\n" for line in actual.splitlines())
    return re.fullmatch(pattern, text) is not None


def _line_pattern(line: str) -> str:
    parts = " ".join(line.split()).split("...")
    return r"[^\n]*?".join(re.escape(part) for part in parts) + r" ?"


class Shell:
    """One bash; `run` gives what a command prints on both outputs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._count = 0

    @classmethod
    async def open(cls, directory: Path, environment: Mapping[str, str]) -> Shell:
        return cls(
            await asyncio.create_subprocess_exec(
                "bash",
                "--norc",
                cwd=directory,
                env=dict(environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        )

    async def run(self, command: str, within_seconds: float) -> str:
        self._count += 1
        mark = f"--- done {self._count} ---"
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\necho; echo '{mark}'\n".encode())
        lines = []
        async with asyncio.timeout(within_seconds):
            while (line := (await self._process.stdout.readline()).decode().rstrip("\n")) != mark:
                lines.append(line)
        return "\n".join(lines[:-1] if lines and not lines[-1] else lines)

    async def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()


async def play(steps: list[Step], shell: Shell, *, patience_seconds: float) -> None:
    """Run all steps; raises `AssertionError` with the first that is not as written."""
    for step in steps:
        deadline = time.monotonic() + patience_seconds
        actual = await shell.run(step.command, patience_seconds + 60)
        while not matches(step.expected, actual):
            said = f"line {step.line}: $ {step.command}\nwritten:\n" + "\n".join(step.expected)
            is_over = time.monotonic() > deadline or not READS.match(step.command)
            assert not is_over, f"{said}\nprinted:\n{actual}"
            await asyncio.sleep(0.3)
            actual = await shell.run(step.command, patience_seconds + 60)
