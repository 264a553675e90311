"""`orc` as a whole: its help, exit codes, completion, and what it does not import for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.cli.app import orc
from orchestrator.cli.errors import (
    ExitCode,
    NoCluster,
    NotFound,
    Refused,
    StreamBroken,
    WaitTimeout,
    exit_code_of,
)
from orchestrator.model.errors import ConfigError, OrchestrationError, StateError
from tests.support.orc import run_orc

SLOW = ("aiohttp", "asyncio", "pydantic", "rich", "yaml", "ssl", "orchestrator.model.views")


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from orchestrator.cli.app import orc; orc(['--help'], standalone_mode=False);"
        f"print('slow:', [name for name in {SLOW!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "slow: []"


def test_help_tells_the_commands_and_the_exit_codes() -> None:
    text = run_orc("--help").stdout
    for command in ("apply", "get", "describe", "scale", "delete", "logs", "events", "status"):
        assert f"\n  {command} " in text
    for code in ExitCode:
        assert code is ExitCode.INTERRUPTED or f"\n    {code.value}  " in text
    assert "ORC_SERVER" in text


def test_nothing_asked_for_is_answered_with_the_help() -> None:
    result = run_orc()
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: orc ")
    assert "error:" not in result.stderr


@pytest.mark.parametrize("command", sorted(orc.commands))
def test_every_command_has_help_that_fits(command: str) -> None:
    result = run_orc(command, "--help")
    assert result.exit_code == 0
    assert "..." not in orc.commands[command].get_short_help_str(60)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("no"), 1),
        (StateError("moved"), 1),
        (ConfigError("wrong"), 2),
        (NoCluster("none"), 3),
        (StreamBroken("gone"), 3),
        (NotFound("what?"), 4),
        (WaitTimeout("late"), 5),
    ],
)
def test_each_error_has_its_exit_code(error: OrchestrationError, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("aply",), "No such command 'aply'. Did you mean 'apply'?"),
        (("get", "nodes", "--wach"), "No such option '--wach'. Did you mean '--watch'?"),
        (("scale", "web"), "Missing argument 'REPLICAS'."),
        (("get", "nodes", "--server", "localhost"), "'localhost' is no server"),
    ],
)
def test_a_slip_of_the_pen_is_told_on_standard_error(arguments: tuple[str, ...], told: str) -> None:
    result = run_orc(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith(f"error: {told}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_for_orc(shell: str) -> None:
    result = run_orc("completion", shell)
    assert result.exit_code == 0
    assert "_ORC_COMPLETE" in result.stdout


def test_kinds_are_completed() -> None:
    code = "from orchestrator.cli.app import orc; orc(prog_name='orc')"
    words = {"COMP_WORDS": "orc get no", "COMP_CWORD": "2", "_ORC_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **words},
    )
    assert done.stdout.split() == ["plain,node", "plain,nodes"]


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "from orchestrator.cli.app import orc; orc(['--help'], prog_name='orc')"
    command = f'{sys.executable} -c "{code}" | true'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_the_version_is_told() -> None:
    assert run_orc("version").stdout.startswith("orc ")
