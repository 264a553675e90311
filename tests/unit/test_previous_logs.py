"""Which logs of removed containers are kept, and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.runtime.previous_logs import SECONDS_A_DAY, KeepingTerms, PreviousLogs
from orchestrator.runtime.protocol import LogQuery

LINE = "2026-11-22T11:05:07.557878762+00:00 stdout F {}\n"


class Shelf:
    """A directory of containers, their kept logs, and a clock."""

    def __init__(self, path: Path, terms: KeepingTerms) -> None:
        self.now = 1e9
        self._path = path
        self._terms = terms
        self.logs = self.opened()

    def opened(self) -> PreviousLogs:
        logs = PreviousLogs(self._path / "kept", self._terms, lambda: self.now)
        logs.open()
        return logs

    def remove(self, container_id: str, *texts: str) -> None:
        directory = self._path / container_id
        directory.mkdir()
        for number, text in enumerate(texts, 1):
            (directory / f"log.{number}").write_text(LINE.format(text))
        self.logs.keep(directory, container_id)
        self.logs.sweep()
        assert list(directory.iterdir()) == []
        directory.rmdir()

    @property
    def on_disk(self) -> list[str]:
        return sorted(each.name for each in (self._path / "kept").iterdir())

    async def text(self, container_id: str) -> list[str]:
        lines = self.logs.read(container_id, LogQuery())
        assert lines is not None
        return [line.text async for line in lines]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, KeepingTerms(days=7, bytes=1000, count=3))


async def test_all_files_of_a_log_are_kept(shelf: Shelf) -> None:
    shelf.remove("default.web.0.1.app", "one", "two")
    assert await shelf.text("default.web.0.1.app") == ["one", "two"]
    assert list(shelf.opened().ids()) == ["default.web.0.1.app"]


async def test_the_newest_attempt_of_each_container_of_a_slot_is_kept(shelf: Shelf) -> None:
    shelf.remove("default.web.0.9.app", "nine")
    shelf.remove("default.web.0.9.side", "nine")
    shelf.remove("default.web.0.10.app", "ten")
    assert shelf.on_disk == ["default.web.0.10.app", "default.web.0.9.side"]


async def test_an_older_attempt_does_not_come_back(shelf: Shelf, tmp_path: Path) -> None:
    shelf.remove("default.web.0.2.app", "two")
    directory = tmp_path / "default.web.0.1.app"
    directory.mkdir()
    (directory / "log.1").write_text(LINE.format("one"))
    shelf.logs.keep(directory, directory.name)
    assert shelf.on_disk == ["default.web.0.2.app"]


async def test_a_later_life_of_the_same_name_takes_its_place(shelf: Shelf) -> None:
    shelf.remove("default.web.0.1.app", "earlier", "and more")
    shelf.remove("default.web.0.1.app", "later")
    assert await shelf.text("default.web.0.1.app") == ["later"]


async def test_what_has_no_log_takes_nobodys_place(shelf: Shelf) -> None:
    shelf.remove("default.web.0.1.app", "one")
    shelf.remove("default.web.0.2.app")
    assert shelf.on_disk == ["default.web.0.1.app"]


async def test_the_oldest_goes_when_there_are_too_many(shelf: Shelf) -> None:
    for slot in range(4):
        shelf.remove(f"default.web.{slot}.1.app", "text")
    assert shelf.on_disk == [f"default.web.{slot}.1.app" for slot in (1, 2, 3)]


async def test_the_oldest_goes_when_they_are_too_large(shelf: Shelf) -> None:
    for slot in range(3):
        shelf.remove(f"default.web.{slot}.1.app", "x" * 400)
    assert shelf.on_disk == ["default.web.1.1.app", "default.web.2.1.app"]
    shelf.remove("default.web.3.1.app", "x" * 1000)
    assert shelf.on_disk == []


async def test_what_is_old_goes_with_the_next_or_at_the_start(shelf: Shelf) -> None:
    shelf.remove("default.web.0.1.app", "text")
    shelf.now += 8 * SECONDS_A_DAY
    shelf.remove("default.web.1.1.app", "text")
    assert shelf.on_disk == ["default.web.1.1.app"]
    shelf.now = 1e12
    assert list(shelf.opened().ids()) == []
    assert shelf.on_disk == []


async def test_what_was_being_deleted_is_gone_at_the_start(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "kept" / ".gone-1").mkdir()
    shelf.opened()
    assert shelf.on_disk == []


async def test_a_disk_that_refuses_costs_the_log_only(shelf: Shelf, tmp_path: Path) -> None:
    directory = tmp_path / "default.web.0.1.app"
    directory.mkdir()
    (directory / "log.1").write_text(LINE.format("lost"))
    (tmp_path / "kept").rmdir()
    shelf.logs.keep(directory, directory.name)
    assert shelf.logs.read(directory.name, LogQuery()) is None
