"""The log of a container, from the supervisor's pen to the agent's eyes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.runtime import log_files
from orchestrator.runtime.log_files import LogReader, last_line, read_log
from orchestrator.runtime.protocol import LogLine, LogQuery
from orchestrator.runtime.supervisor.launch import Launch
from orchestrator.runtime.supervisor.log import Log

LIMIT_SECONDS = 30.0
PREFIX_BYTES = len("2026-11-22T11:05:07.557878762+00:00 stdout F \n")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The supervisor works in the container's directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(directory: Path, tail: int | None = None) -> list[tuple[str, str]]:
    with contextlib.closing(LogReader(directory)) as reader:
        if tail is not None:
            asyncio.run(reader.seek(tail))
        lines = [*reader.lines(), *reader.unfinished()]
    return [(line.stream, line.text) for line in lines]


chunks = st.lists(
    st.tuples(
        st.sampled_from(("stdout", "stderr")),
        st.text("ab\n", max_size=40).map(str.encode),
    ),
    max_size=20,
)


@pytest.mark.slow
@settings(deadline=None)
@given(chunks, st.integers(60, 400))
def test_what_is_written_in_any_pieces_is_read_as_lines(
    written: list[tuple[str, bytes]], limit_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        log = Log(limit_bytes, limit_files=10_000)
        for stream, chunk in written:
            log.write(stream, chunk)
        read = texts(Path(directory))
    for stream in ("stdout", "stderr"):
        whole = b"".join(chunk for its, chunk in written if its == stream).decode()
        lines = whole.split("\n") if whole else []
        if lines and not lines[-1]:
            lines.pop()
        assert [text for its, text in read if its == stream] == lines


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 120), st.integers(0, 130), st.integers(60, 1000))
def test_tail_finds_its_place_from_the_end(count: int, tail: int, limit_bytes: int) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        contextlib.chdir(directory),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(log_files, "BLOCK_BYTES", 100)
        log = Log(limit_bytes, limit_files=10_000)
        log.write("stdout", b"".join(b"%d\n" % number for number in range(count)))
        read = [int(text) for _, text in texts(Path(directory), tail)]
    assert read == list(range(count - len(read), count))
    assert len(read) >= min(tail, count)


async def test_tail_gives_so_many_lines_and_no_more(directory: Path) -> None:
    Log(10_000, 3).write("stdout", b"1\n2\n3\nunfinished")

    async def tail(lines: int) -> list[str]:
        log = read_log(directory, LogQuery(tail=lines))
        return [line.text async for line in log]

    assert [await tail(lines) for lines in range(3)] == [[], ["unfinished"], ["3", "unfinished"]]


async def test_a_tail_is_not_made_longer_by_what_is_written_meanwhile(directory: Path) -> None:
    log = Log(1000, limit_files=3)
    log.write("stdout", b"1\n2\n3\n")
    tail = read_log(directory, LogQuery(tail=2))
    first = await anext(tail)
    log.write("stdout", b"4\n5\n")
    assert [first.text, *[line.text async for line in tail]] == ["2", "3"]


async def test_a_long_tail_lets_others_go_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 100)
    Log(10_000, 10).write("stdout", b"x\n" * 500)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going_on = asyncio.create_task(others())
    tail = read_log(directory, LogQuery(tail=1000))
    await anext(tail)
    going_on.cancel()
    await tail.aclose()
    assert turns > 2 * 500 * PREFIX_BYTES // 100, "while it seeks, and while it reads"


async def test_a_tail_ends_though_more_is_written_than_can_be_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 100)
    log = Log(10_000_000, 2)
    log.write("stdout", b"old\n" * 100)

    async def write_on() -> None:
        while True:
            log.write("stdout", b"new\n" * 10)
            await asyncio.sleep(0)

    writing = asyncio.create_task(write_on())
    async with asyncio.timeout(LIMIT_SECONDS):
        lines = [line.text async for line in read_log(directory, LogQuery(tail=5))]
    writing.cancel()
    assert len(lines) == 5


def test_the_last_line_of_a_stream_is_that_of_the_last_block(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_line(directory, "stderr") == ""
    log = Log(10_000, 3)
    log.write("stderr", b"first\nsecond\n \n")
    log.write("stdout", b"other\n")
    assert last_line(directory, "stderr") == "second"
    log.write("stderr", b"unfinished")
    assert last_line(directory, "stderr") == "unfinished"
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 100)
    log.write("stdout", b"x\n" * 10)
    assert last_line(directory, "stderr") == ""


def test_an_old_log_that_somebody_deleted_is_no_reason_to_end(directory: Path) -> None:
    log = Log(limit_bytes=PREFIX_BYTES + 1, limit_files=2)
    log.write("stdout", b"1\n2\n")
    (directory / "log.1").unlink()
    log.write("stdout", b"3\n")
    assert [text for _, text in texts(directory)] == ["2", "3"]


async def test_following_waits_for_the_rest_of_a_line(directory: Path) -> None:
    log = Log(10_000, 3)
    log.write("stdout", b"one\ntw")
    rest: Iterator[bytes] = iter((b"o\nthr", b"ee"))

    async def wait() -> bool:
        chunk = next(rest, None)
        if chunk is not None:
            log.write("stdout", chunk)
        return chunk is not None

    lines = [line.text async for line in read_log(directory, LogQuery(follow=True), wait)]
    assert lines == ["one", "two", "three"]


def test_endless_line_comes_in_pieces(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_LINE_BYTES", 10)
    log = Log(10_000, 3)
    for _ in range(5):
        log.write("stdout", b"1234")
    assert [text for _, text in texts(directory)] == ["1234" * 3, "1234" * 2]


def test_reader_goes_on_when_its_file_was_rotated_away(directory: Path) -> None:
    log = Log(limit_bytes=PREFIX_BYTES + 1, limit_files=2)
    log.write("stdout", b"1\n")
    with contextlib.closing(LogReader(directory)) as reader:
        assert [line.text for line in reader.lines()] == ["1"]
        log.write("stdout", b"2\n3\n4\n5\n")
        assert [line.text for line in reader.lines()] == ["4", "5"]


def test_log_goes_on_where_an_earlier_supervisor_was_killed(directory: Path) -> None:
    Log(10_000, 3).write("stdout", b"one\ntw")
    Log(10_000, 3).write("stdout", b"o\n")
    assert [text for _, text in texts(directory)] == ["one", "two"]


def test_full_disk_costs_lines_and_is_told_later(directory: Path) -> None:
    log = Log(10_000, 3)
    log.write("stdout", b"before\n")
    with disk_of((directory / "log.1").stat().st_size + 10):
        log.write("stdout", b"lost\n")
    assert texts(directory) == [("stdout", "before")]
    log.write("stdout", b"after\n")
    lost = PREFIX_BYTES + len("lost")
    assert texts(directory) == [
        ("stdout", "before"),
        ("stdout", f"[{lost} bytes of output were lost: the disk was full]"),
        ("stdout", "after"),
    ]


@contextlib.contextmanager
def disk_of(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond that: the nearest to a full disk without root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_of_foreign_files_are_passed_over(directory: Path) -> None:
    (directory / "log.1").write_text("not ours\n2026-11-22T11:05:07.557878762+00:00 stdout F x\n")
    with contextlib.closing(LogReader(directory)) as reader:
        stamp = "2026-11-22T11:05:07.557878762+00:00"
        assert list(reader.lines()) == [LogLine(stamp, "stdout", "x")]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@given(
    st.lists(words, min_size=1, max_size=4),
    st.dictionaries(st.text("AB_", min_size=1, max_size=3), words, max_size=3),
    words,
)
def test_launch_arrives_as_it_was_sent(
    argv: list[str], env: dict[str, str], working_dir: str
) -> None:
    sent = Launch(
        tuple(argv),
        env,
        working_dir,
        memory_bytes=1,
        open_files=2,
        log_bytes=3,
        log_files=4,
        taken_over=(5, 6),
    )
    arrived = Launch.unpack(sent.pack())
    for name in Launch.__slots__:
        assert getattr(arrived, name) == getattr(sent, name)
