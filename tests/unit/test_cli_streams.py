"""`orc exec`, `attach`, `top` and the ways to old logs, against the API and simulated nodes."""

from __future__ import annotations

import json
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.terminal import DetachKeys
from orchestrator.runtime.simulated_host import Program
from tests.support.orc import WEB, Orc
from tests.support.orc_process import ORC, orc_environment
from tests.support.served_api import ServedApi
from tests.support.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.slow

ONE = "default.web.0.1"
LIMIT_SECONDS = 30.0

FAILS = Program(runs_seconds=0, exit_code=3, output=lambda _: [("stdout", "on"), ("stderr", "woe")])
TELLS_ENV = Program(
    runs_seconds=0, output=lambda spec: [("stdout", " ".join((*spec.argv, spec.env["WHO"])))]
)


@pytest.fixture
def api() -> Iterator[ServedApi]:
    with ServedApi() as served:
        Orc(served.servers).succeeds("apply", "-f", "-", stdin=WEB)
        served.add_node("n1")
        served.add_node("n2")
        served.add_instance(ONE, "n1", "one", "two")
        served.program("n1", "fail", FAILS)
        served.program("n1", "tell", TELLS_ENV)
        served.program("n1", "copy", Program(copies_input=True))
        served.program("n1", "show-size", Program(shows_size=True))
        yield served


@pytest.fixture
def orc(api: ServedApi) -> Orc:
    return Orc(api.servers)


def command(api: ServedApi, *arguments: str) -> list[str]:
    """`orc` as a process of its own, for what only a real standard input has."""
    return [*ORC, "--server", ",".join(api.servers), *arguments]


def settings_of(terminal: Terminal) -> list[object]:
    """Of the line discipline, without the speeds."""
    return termios.tcgetattr(terminal.fileno())[:4]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("target", [ONE, "web", "default/web"])
def test_exec_shows_what_a_command_writes_and_ends_as_it_does(orc: Orc, target: str) -> None:
    done = orc("exec", target, "--", "fail")
    assert (done.stdout, done.stderr, done.exit_code) == ("on\n", "woe\n", 3)


def test_exec_takes_arguments_and_variables(orc: Orc) -> None:
    assert orc.succeeds("exec", "web", "-e", "WHO=me", "--", "tell", "-n", "--x") == (
        "tell -n --x me\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("exec", "web"), 2, "error: Missing argument"),
        (("exec", "-t", "web", "--", "fail"), 2, "error: --tty needs a terminal"),
        (("attach", "-t", "web"), 2, "error: --tty needs a terminal"),
        (("exec", "-e", "WHO", "web", "--", "tell"), 2, "error: --env 'WHO' is no variable"),
        (("exec", "wbe", "--", "fail"), 4, "error: there is no workload default/wbe; did you"),
        (("exec", "default.web.0.2", "--", "fail"), 4, "error: there is no instance default.web"),
        (("exec", "-c", "x", "web", "--", "fail"), 4, f"error: {ONE} has no container 'x'; it has"),
        (("attach", "-i", "web"), 1, f"error: app of {ONE} is a plain process, without a standard"),
        (("logs", "-f", "-p", "web"), 2, "error: what is previous is over"),
        (("logs", "--since", "soon", "web"), 2, "error: Invalid value for '--since': 'soon' is no"),
        (("logs", "-p", ONE), 4, f"error: no node has a log of an attempt before {ONE}: there"),
        (("logs", "-p", "web"), 4, "error: no node has a log of an earlier attempt of workload"),
        (("top", "-w", "-o", "json"), 2, "error: --watch shows a table"),
        (("top", "--node", "n3"), 4, "error: there is no node n3"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    orc: Orc, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = orc(*arguments)
    assert done.exit_code == code
    assert done.stderr.splitlines()[-1].startswith(told)


def test_a_command_that_cannot_be_run_ends_as_in_a_shell(api: ServedApi, orc: Orc) -> None:
    api.program("n1", "broken", Program(start_error="command 'broken' is not executable"))
    done = orc("exec", "web", "--", "broken")
    assert (done.exit_code, done.stderr) == (126, "error: command 'broken' is not executable\n")


def test_exec_in_what_has_ended_is_refused(api: ServedApi, orc: Orc) -> None:
    api.end_instance(ONE, 7)
    for arguments in (("exec", ONE, "--", "fail"), ("attach", ONE)):
        done = orc(*arguments)
        assert done.exit_code == 1
        assert done.stderr == (
            f"error: container app of {ONE} does not run any more: it has ended with exit code 7\n"
        )


@pytest.mark.parametrize("is_file", [False, True])
def test_input_is_passed_on_to_its_end(api: ServedApi, tmp_path: Path, is_file: bool) -> None:
    text = b"".join(b"line %d\n" % number for number in range(50_000))
    path = tmp_path / "input"
    path.write_bytes(text)
    arguments = command(api, "exec", "-i", "web", "--", "copy")
    with path.open("rb") as file:
        done = subprocess.run(
            arguments,
            stdin=file if is_file else None,
            input=None if is_file else text,
            capture_output=True,
            env=orc_environment(),
            timeout=LIMIT_SECONDS,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == text


def test_a_terminal_is_passed_on_with_its_size_and_its_keys(api: ServedApi) -> None:
    api.program("n1", "show-size", Program(shows_size=True, copies_input=True))
    arguments = command(api, "exec", "-it", "web", "--", "show-size")
    with Terminal(arguments, orc_environment()) as terminal:
        before = settings_of(terminal)
        terminal.read_until("50 160", LIMIT_SECONDS)
        terminal.resize(40, 100)
        terminal.read_until("40 100", LIMIT_SECONDS)
        assert settings_of(terminal) != before
        terminal.press(CTRL_C)
        terminal.read_until("\x03", LIMIT_SECONDS)
        api.end_instance(ONE)
        assert terminal.read_to_the_end(LIMIT_SECONDS) == 137
        assert settings_of(terminal) == before


def test_a_terminal_is_put_right_when_orc_is_asked_to_end(api: ServedApi) -> None:
    arguments = command(api, "exec", "-it", "web", "--", "show-size")
    with Terminal(arguments, orc_environment()) as terminal:
        before = settings_of(terminal)
        terminal.read_until("50 160", LIMIT_SECONDS)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.read_to_the_end(LIMIT_SECONDS) == 128 + signal.SIGTERM
        assert settings_of(terminal) == before


def test_a_terminal_is_put_right_when_the_server_goes(api: ServedApi) -> None:
    arguments = command(api, "exec", "-it", "web", "--", "show-size")
    with Terminal(arguments, orc_environment()) as terminal:
        before = settings_of(terminal)
        terminal.read_until("50 160", LIMIT_SECONDS)
        api.stop(0)
        assert terminal.read_to_the_end(LIMIT_SECONDS) == 3
        assert "error: the server broke off" in terminal.shown
        assert settings_of(terminal) == before


def test_attach_shows_what_comes_to_the_end(api: ServedApi) -> None:
    attached = subprocess.Popen(
        command(api, "attach", "web"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=orc_environment(),
    )
    with attached:
        until(lambda: api.attached > 0)
        api.write_lines(ONE, "three")
        api.end_instance(ONE, 9)
        shown, said = attached.communicate(timeout=LIMIT_SECONDS)
    assert (shown, said, attached.returncode) == ("three\n", "", 9)


def test_an_agent_that_goes_away_is_told_of(api: ServedApi) -> None:
    with Terminal(command(api, "exec", "-it", "web", "--", "show-size"), orc_environment()) as its:
        before = settings_of(its)
        its.read_until("50 160", LIMIT_SECONDS)
        api.stop_agent("n1")
        assert its.read_to_the_end(LIMIT_SECONDS) == 1
        assert settings_of(its) == before
    assert "error: node n1 cannot be reached at http://127.0.0.1:" in its.shown
    assert "(it broke off): see that its agent runs" in its.shown


def test_attach_is_let_go_of_by_ctrl_c(api: ServedApi, orc: Orc) -> None:
    with Terminal(command(api, "attach", "-t", "web"), orc_environment()) as terminal:
        until(lambda: api.attached > 0)
        api.write_lines(ONE, "three")
        terminal.read_until("three", LIMIT_SECONDS)
        terminal.press(CTRL_C)
        assert terminal.read_to_the_end(LIMIT_SECONDS) == 130
    assert orc("exec", "web", "--", "fail").exit_code == 3


def test_keys_that_detach_are_found_in_one_piece_or_two() -> None:
    keys = DetachKeys()
    assert keys.take(b"one") == (b"one", False)
    assert keys.take(b"two\x10") == (b"two", False)
    assert keys.take(b"three") == (b"\x10three", False)
    assert keys.take(b"\x10") == (b"", False)
    assert keys.take(b"\x11four") == (b"", True)
    assert DetachKeys().take(b"five\x10\x11") == (b"five", True)


def test_top_shows_what_instances_use(api: ServedApi, orc: Orc) -> None:
    heads, row = orc.succeeds("top", "-o", "wide").splitlines()
    assert heads.split()[:3] == ["NAME", "NODE", "CPU"]
    assert row.split() == [ONE, "n1", "0.01", "-", "-", "10", "-", "-", "1"]
    assert orc("top", "-n", "other").stderr == "no instances in use\n"


def test_top_shows_what_nodes_use(api: ServedApi, orc: Orc) -> None:
    (one, two) = json.loads(orc.succeeds("top", "nodes", "-o", "json"))["items"]
    assert (one["name"], one["memory_mb"], one["containers"]) == ("n1", 10.0, 1)
    assert (two["name"], two["memory_mb"], two["cpu_cores"]) == ("n2", 0, 0)
    assert one["memory_percent"] == pytest.approx(100 * 10 / one["memory_limit_mb"])


def test_top_says_which_nodes_do_not_answer(api: ServedApi, orc: Orc) -> None:
    api.stop_agent("n2")
    done = orc("top", "nodes")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "n1"]
    assert done.stderr.startswith("n2: node n2 cannot be reached at http://127.0.0.1:")
    api.stop_agent("n1")
    done = orc("top", "nodes")
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (1, [])
    assert done.stderr.splitlines()[-1] == "error: no node has answered"


def test_logs_since_a_time_begin_there(api: ServedApi, orc: Orc) -> None:
    assert orc.succeeds("logs", "web", "--since", "1h30m").splitlines()[-1].endswith("two")
    assert orc.succeeds("logs", "web", "--since", "2100-01-01T00:00:00Z") == ""
    assert orc.succeeds("logs", ONE, "--since", "2020-01-01", "--tail", "1") == "two\n"


def test_the_log_of_an_attempt_that_is_gone_is_found(api: ServedApi, orc: Orc) -> None:
    api.forget_instance(ONE)
    assert orc.succeeds("logs", ONE) == "one\ntwo\n"
    assert orc.succeeds("logs", "-p", "default.web.0.2", "--tail", "1") == "two\n"
    api.add_instance("default.web.0.2", "n2", "three")
    assert orc.succeeds("logs", "-p", "web").splitlines() == [f"{ONE} | one", f"{ONE} | two"]
    assert orc.succeeds("logs", "-p", "default.web.0.2") == "one\ntwo\n"
    assert orc("logs", "-p", "default.web.0.2", "-c", "side").exit_code == 4
