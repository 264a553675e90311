"""The main programs: what they print and refuse before they start anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import orchestrator.entry.main  # noqa: F401 - it adds its commands to `orc`
from orchestrator.cli.app import orc
from orchestrator.cli.discovery import default_data_dir
from orchestrator.entry.direct import direct_settings
from orchestrator.local.data_dir import DataDir
from orchestrator.local.record import ClusterRecord, write_record
from tests.support.orc_process import orc_environment
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

HEAVY = ("aiohttp", "grpc", "pydantic", "rich", "structlog", "yaml")


def test_the_client_starts_without_what_it_does_not_need() -> None:
    program = (
        f"import sys, orchestrator.entry.main; print([m for m in {HEAVY} if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_an_agent_has_no_tables_and_no_arrays_in_memory() -> None:
    program = (
        "import sys; from orchestrator.entry.main import orc;"
        " orc(['agent', '--help'], standalone_mode=False);"
        " print([m for m in ('structlog', 'rich', 'pygments', 'numpy') if m in sys.modules]);"
        " import rich.console"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "['structlog']"


@pytest.mark.parametrize(
    "command", ["up", "down", "controller", "agent", "etcd", "backup", "restore"]
)
def test_help_is_that_of_the_command_itself(command: str) -> None:
    listed = CliRunner().invoke(orc, ["--help"]).output
    shown = CliRunner().invoke(orc, [command, "--help"])
    assert shown.exit_code == 0
    assert f"orc {command} [OPTIONS]" in shown.output
    assert f"  {command} " in listed


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("controller", "replica", "c7"),
        ("agent", "node", "n7"),
        ("agent", "gpus", "V100M16,T4"),
        ("agent", "resources", "licence=2.0,slots=0.5"),
    ],
)
def test_show_config_prints_each_setting_and_its_source(
    command: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORC_LOG_LEVEL", "debug")
    shown = CliRunner().invoke(orc, [command, f"--{name}={value}", "--show-config"])
    assert shown.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in shown.output.splitlines()}
    assert rows[name] == [value, f"--{name}"]
    assert rows["log_level"] == ["debug", "ORC_LOG_LEVEL"]
    assert rows["root"] == ["/orchestrator/", "default"]


@pytest.mark.parametrize("command", ["controller", "agent"])
def test_other_addresses_than_loopback_are_refused_in_one_sentence(command: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator.entry.main", command, "--bind=0.0.0.0:7400"],
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    assert answer.stderr.count("\n") == 1
    assert "give tls_cert_file, tls_key_file and token_file too" in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("etcd", "status"),
        ("etcd", "make-room"),
        ("backup", "any.db"),
    ],
)
def test_commands_for_etcd_itself_say_where_they_have_looked(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator.entry.main", *arguments, "--etcd-endpoints", endpoint],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=orc_environment(),
    )
    assert answer.returncode == 3
    assert answer.stderr.splitlines()[-1].startswith(f"error: etcd at {endpoint} cannot be reached")
    assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_local_clusters_etcd_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("ORC_ETCD_ENDPOINTS", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    default = ("http://127.0.0.1:2379",)
    assert direct_settings({}, None, show_config=False).etcd_endpoints == default
    data_dir = DataDir(default_data_dir({"HOME": str(tmp_path)}))
    data_dir.create()
    etcd = ("http://127.0.0.1:7420",)
    write_record(data_dir, ClusterRecord(str(data_dir.path), (), etcd))
    assert direct_settings({}, None, show_config=False).etcd_endpoints == etcd
    named = {"etcd_endpoints": "http://m1:2379"}
    found = direct_settings(named, None, show_config=False)
    assert found.etcd_endpoints == ("http://m1:2379",)


@pytest.mark.parametrize("command", ["up", "down", "ps"])
def test_a_data_directory_that_cannot_be_looked_into_is_named(command: str) -> None:
    name = "x" * 300
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator.entry.main", command, f"--data-dir={name}"],
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    assert answer.stderr.count("\n") == 1
    assert "File name too long" in answer.stderr
