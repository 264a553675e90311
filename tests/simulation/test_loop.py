"""The loop under the simulation: time, processes that freeze, and an order from a seed."""

from __future__ import annotations

import asyncio
import random
from contextvars import Context

import pytest

from orchestrator.simulation.loop import Process, Standstill, become
from orchestrator.simulation.virtual_time import in_virtual_time, run_in_virtual_time, virtual_now


async def count(process: Process, name: str, told: list[str], times: int = 3) -> None:
    become(process)
    for index in range(times):
        told.append(f"{name}{index}")
        await asyncio.sleep(0)


async def interleaved() -> tuple[str, ...]:
    told: list[str] = []
    await asyncio.gather(*(count(Process(), name, told) for name in "abc"))
    return tuple(told)


def test_processes_take_turns_by_the_seed_and_each_in_its_own_order() -> None:
    orders = {run_in_virtual_time(interleaved(), random.Random(seed)) for seed in range(20)}
    assert len(orders) > 5
    for order in orders:
        for name in "abc":
            assert [each for each in order if each[0] == name] == [f"{name}{i}" for i in range(3)]


def test_the_same_seed_gives_the_same_order() -> None:
    orders = {run_in_virtual_time(interleaved(), random.Random(5)) for _ in range(3)}
    assert len(orders) == 1


@in_virtual_time
async def test_a_frozen_process_takes_up_all_that_has_come_when_it_is_thawed() -> None:
    process, told = Process(), list[str]()
    arrived = asyncio.Event()

    async def work() -> None:
        become(process)
        await arrived.wait()
        told.append(f"heard at {virtual_now():g}")

    task = asyncio.create_task(work())
    await asyncio.sleep(1.0)
    process.freeze()
    arrived.set()
    asyncio.get_running_loop().call_later(5.0, process.thaw, context=Context())
    await asyncio.sleep(4.0)
    assert told == []
    await task
    assert told == ["heard at 6"]


async def spin() -> None:
    await asyncio.sleep(1.0)
    while True:
        await asyncio.sleep(0)


async def two_that_spin() -> None:
    become(Process())
    await asyncio.gather(spin(), spin())


def test_who_waits_for_nothing_is_found_out() -> None:
    with pytest.raises(Standstill, match="somebody spins at 1"):
        run_in_virtual_time(two_that_spin())


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_world_in_which_nothing_can_happen_any_more_is_found_out() -> None:
    with pytest.raises(Standstill, match="no timer will ever wake anybody"):
        run_in_virtual_time(wait_for_ever())
