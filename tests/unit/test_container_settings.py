"""What can be set for the containers of a node, and which runtime that comes to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.entry.containers import chosen_runtime
from orchestrator.model.errors import ConfigError
from orchestrator.process.agent_settings import AgentSettings
from orchestrator.process.sources import load_settings


def settings(**flags: str) -> AgentSettings:
    return load_settings(AgentSettings, flags).settings


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"bridge": "a-bridge-with-a-name"}, "it must be 1 to 10 letters"),
        ({"bridge": "0rc"}, "it must be 1 to 10 letters"),
        ({"pod_cidr": "10.117.0.1/20"}, "it must be an IPv4 network like 10.117.0.0/20"),
        ({"pod_cidr": "10.117.0.0/30"}, "it must have room for addresses"),
        ({"cgroup_parent": "orchestrator"}, "it must be an absolute path"),
        ({"cgroup_parent": "/a/../b"}, "it must be an absolute path"),
        ({"allow_bind": "/srv,data"}, "must be an absolute path without '..'"),
        ({"allow_bind": "/srv/../etc"}, "must be an absolute path without '..'"),
        ({"image_low_percent": "90"}, "image_low_percent is above image_high_percent"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(flags: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(**flags)
    assert told in str(refused.value)


def test_lists_are_written_with_commas() -> None:
    made = settings(allow_bind="/srv,/var/data", oci_runtime_args="--debug,--systemd-cgroup")
    assert made.allow_bind == (Path("/srv"), Path("/var/data"))
    assert made.oci_runtime_args == ("--debug", "--systemd-cgroup")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All programs that this machine has; and the caller is root."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def install(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).touch(0o755)


def test_fastest_runtime_that_is_there_is_chosen(programs: Path) -> None:
    install(programs, "runc", "conmon", "skopeo")
    assert chosen_runtime(settings()) == "runc"
    install(programs, "youki")
    assert chosen_runtime(settings()) == "youki"
    install(programs, "crun")
    assert chosen_runtime(settings()) == "crun"
    assert chosen_runtime(settings(oci_runtime="/opt/own")) == "/opt/own"
    assert chosen_runtime(settings(oci_runtime="none")) is None


@pytest.mark.parametrize("there", [("crun", "conmon"), ("crun", "skopeo"), ("conmon", "skopeo")])
def test_without_all_that_it_takes_only_processes_are_run(
    programs: Path, there: tuple[str, ...]
) -> None:
    install(programs, *there)
    assert chosen_runtime(settings()) is None


def test_a_plain_user_runs_processes(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(programs, "crun", "conmon", "skopeo")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert chosen_runtime(settings()) is None
