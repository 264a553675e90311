"""Which cluster `orc` speaks to when nobody says, and what it says when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.discovery import (
    default_data_dir,
    find_data_dir,
    find_servers,
    local_servers,
    parse_servers,
    state_pointer,
)
from orchestrator.cli.errors import Misuse, NoCluster
from orchestrator.model.errors import ConfigError
from tests.support.orc import run_orc

ONE, TWO = "http://127.0.0.1:7400", "http://127.0.0.1:7401"


def environ(home: Path) -> dict[str, str]:
    return {"HOME": str(home)}


def make_cluster(data_dir: Path, *servers: str) -> Path:
    data_dir.mkdir(parents=True)
    (data_dir / "cluster.json").write_text(json.dumps({"servers": servers, "newer": 1}))
    return data_dir


def point_to(home: Path, data_dir: Path) -> None:
    pointer = state_pointer(environ(home))
    pointer.parent.mkdir(parents=True)
    pointer.write_text(f"{data_dir}\n")


def test_the_files_are_where_the_xdg_specification_wants_them(tmp_path: Path) -> None:
    assert state_pointer(environ(tmp_path)) == tmp_path / ".local/state/orchestrator/current"
    assert default_data_dir(environ(tmp_path)) == tmp_path / ".local/share/orchestrator/local"
    moved = {**environ(tmp_path), "XDG_STATE_HOME": "/s", "XDG_DATA_HOME": "/d"}
    assert state_pointer(moved) == Path("/s/orchestrator/current")
    assert default_data_dir(moved) == Path("/d/orchestrator/local")
    relative = {**environ(tmp_path), "XDG_DATA_HOME": "d"}
    assert default_data_dir(relative) == default_data_dir(environ(tmp_path))


def test_a_directory_that_is_named_comes_before_the_last_one_and_that_before_the_default(
    tmp_path: Path,
) -> None:
    assert find_data_dir(None, environ(tmp_path)) == default_data_dir(environ(tmp_path))
    point_to(tmp_path, tmp_path / "last")
    assert find_data_dir(None, environ(tmp_path)) == tmp_path / "last"
    assert find_data_dir(tmp_path / "named", environ(tmp_path)) == tmp_path / "named"


def test_servers_that_are_named_come_before_a_local_cluster(tmp_path: Path) -> None:
    make_cluster(default_data_dir(environ(tmp_path)), ONE)
    assert find_servers([], None, environ(tmp_path)) == (ONE,)
    assert find_servers([TWO], None, environ(tmp_path)) == (TWO,)


def test_the_last_cluster_that_was_started_is_found(tmp_path: Path) -> None:
    point_to(tmp_path, make_cluster(tmp_path / "elsewhere", ONE, TWO))
    assert find_servers([], None, environ(tmp_path)) == (ONE, TWO)


def test_without_any_cluster_it_says_how_to_get_one(tmp_path: Path) -> None:
    result = run_orc("get", "nodes", env={"HOME": str(tmp_path)})
    assert result.exit_code == 3
    assert result.stderr == (
        "error: no cluster found: start one with `orc up`, "
        "or name one with --server or ORC_SERVER\n"
    )
    with pytest.raises(NoCluster):
        find_servers([], tmp_path / "nowhere", environ(tmp_path))


def test_a_local_cluster_that_is_down_is_told_from_a_wrong_server(tmp_path: Path) -> None:
    data_dir = make_cluster(tmp_path / "data", "http://127.0.0.1:1")
    local = run_orc("get", "nodes", "--data-dir", str(data_dir))
    named = run_orc("get", "nodes", "--server", "http://127.0.0.1:1")
    assert (local.exit_code, named.exit_code) == (3, 3)
    assert "http://127.0.0.1:1: connection refused" in local.stderr
    assert "start it again with `orc up`" in local.stderr
    assert "orc up" not in named.stderr


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"servers": 1}', '{"servers": [1]}', "\xff"])
def test_a_damaged_cluster_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"cluster\.json .*run `orc up` again"):
        local_servers(tmp_path)


def test_servers_come_one_by_one_or_with_commas_and_count_once() -> None:
    assert parse_servers([f"{ONE}/, {TWO}", ONE, ""]) == (ONE, TWO)
    assert parse_servers(["https://[::1]:7400"]) == ("https://[::1]:7400",)


@pytest.mark.parametrize("text", ["127.0.0.1:7400", "ftp://h", "http://", "http://h:99999", "x"])
def test_what_is_no_server_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Misuse, match="write it like http://"):
        parse_servers([text])


def test_the_environment_names_servers_and_a_flag_overrules_it() -> None:
    env = {"ORC_SERVER": "http://127.0.0.1:1,http://127.0.0.1:2"}
    assert "127.0.0.1:2: connection refused" in run_orc("status", env=env).stderr
    for flagged in (
        ["--server", "http://127.0.0.1:3", "status"],
        ["status", "--server", "http://127.0.0.1:3"],
    ):
        told = run_orc(*flagged, env=env).stderr
        assert "127.0.0.1:3: connection refused" in told
        assert "127.0.0.1:1" not in told
