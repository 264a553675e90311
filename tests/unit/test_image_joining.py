"""Work that several wait for is done once, and for as long as anybody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.runtime.images.joining import Joining, Tell


class Work:
    """Goes on until it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.begun = 0
        self.ended = 0

    async def __call__(self, tell: Tell) -> int:
        self.begun += 1
        try:
            tell(f"begun {self.begun}")
            await self.let.wait()
        finally:
            await asyncio.sleep(0)
            self.ended += 1
        return self.begun


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0)


async def test_whoever_comes_later_joins_and_hears_what_was_said_last() -> None:
    joining: Joining[str, int] = Joining()
    work = Work()
    heard: list[list[str]] = [[], []]
    first = asyncio.create_task(joining.do("a", work, heard[0].append))
    await until(lambda: work.begun == 1)
    second = asyncio.create_task(joining.do("a", work, heard[1].append))
    other = asyncio.create_task(joining.do("b", work, lambda _: None))
    await until(lambda: work.begun == 2)
    assert joining.keys == {"a", "b"}
    work.let.set()
    assert await first == await second
    await other
    assert heard == [["begun 1"], ["begun 1"]]
    assert (work.begun, joining.keys) == (2, frozenset())


async def test_it_goes_on_for_those_who_stay_and_ends_with_the_last() -> None:
    joining: Joining[str, int] = Joining()
    work = Work()
    waiting = [asyncio.create_task(joining.do("a", work, lambda _: None)) for _ in range(2)]
    await until(lambda: work.begun == 1)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert work.ended == 0
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    assert (work.ended, joining.keys) == (1, frozenset())


async def test_whoever_comes_while_it_is_being_given_up_begins_anew_after_it() -> None:
    joining: Joining[str, int] = Joining()
    work = Work()
    given_up = asyncio.create_task(joining.do("a", work, lambda _: None))
    await until(lambda: work.begun == 1)
    given_up.cancel()
    await asyncio.sleep(0)
    late = asyncio.create_task(joining.do("a", work, lambda _: None))
    await until(lambda: work.begun == 2)
    assert work.ended == 1
    work.let.set()
    assert await late == 2


async def test_all_hear_of_a_failure() -> None:
    joining: Joining[str, int] = Joining()

    async def fail(_tell: Tell) -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    done = await asyncio.gather(
        *(joining.do("a", fail, lambda _: None) for _ in range(3)), return_exceptions=True
    )
    assert [str(each) for each in done] == ["no"] * 3
