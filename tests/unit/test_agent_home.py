"""The agent's directory: one agent in it, and no obedience to a store that has gone back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from orchestrator.agent.home import AgentHome
from orchestrator.model.errors import ClusterError, ConfigError


def home(path: Path, seed: int = 1) -> AgentHome:
    return AgentHome(path, random.Random(seed))


def test_the_identity_is_drawn_once(tmp_path: Path) -> None:
    with home(tmp_path, 1) as first:
        agent_id = first.identity.agent_id
    with home(tmp_path, 2) as second:
        assert second.identity.agent_id == agent_id


def test_a_second_agent_on_the_directory_is_refused(tmp_path: Path) -> None:
    with (
        home(tmp_path),
        pytest.raises(ClusterError, match="another agent already runs on the data directory"),
    ):
        home(tmp_path)


async def test_the_store_that_was_seen_is_recognised(tmp_path: Path) -> None:
    with home(tmp_path) as first:
        await first.check_store(0xABC, 100, "", accept=False)
        await first.note_store("one")
        await first.note_revision(150)
    with home(tmp_path) as second:
        await second.check_store(0xABC, 150, "one", accept=False)


@pytest.mark.parametrize(
    "found", [(0xDEF, 1000, "one"), (0xABC, 149, "one"), (0xABC, 1000, "two"), (0xABC, 1000, "")]
)
async def test_another_store_or_one_that_has_gone_back_is_refused(
    tmp_path: Path, found: tuple[int, int, str]
) -> None:
    with home(tmp_path) as first:
        await first.check_store(0xABC, 150, "one", accept=False)
    with home(tmp_path) as second:
        with pytest.raises(ClusterError, match="Nothing has been stopped"):
            await second.check_store(*found, accept=False)
        await second.check_store(*found, accept=True)
    with home(tmp_path) as third:
        await third.check_store(*found, accept=False)


def test_a_damaged_identity_is_told(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        home(tmp_path)


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another --data-dir"):
        home(tmp_path / "file" / "agent")


async def test_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    with home(tmp_path) as first:
        await first.check_store(0xABC, 100, "one", accept=False)
    (tmp_path / "agent.json.new").mkdir()  # nothing can be written under that name now
    with home(tmp_path) as second:
        await second.check_store(0xABC, 150, "one", accept=False)
        await second.note_revision(200)
        assert second.identity.revision == 200


def test_an_agent_that_cannot_keep_its_identity_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "agent.json.new").mkdir()
    with pytest.raises(ConfigError, match="cannot keep its identity"):
        home(tmp_path)
