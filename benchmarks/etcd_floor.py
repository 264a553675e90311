"""What etcd itself can take on this machine: a bare loop of transactions of 128 new keys.

On a grpc channel of its own, without guards, with requests that are ready before the clock starts.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import grpc.aio

from store.etcd import wire
from store.transactions import MAX_OPS

IN_FLIGHT = (1, 4, 16)
ROOT = "/floor/"
AIO: Any = grpc.aio  # grpcio ships no types


async def floor_keys_per_second(
    endpoint: str, value_bytes: int, transactions: int
) -> dict[int, float]:
    """By how many transactions were in flight."""
    async with AIO.insecure_channel(endpoint.removeprefix("http://")) as channel:
        call = channel.unary_unary(wire.TXN.path, lambda raw: raw, wire.TXN.response.FromString)
        return {
            in_flight: await _rate(call, in_flight, value_bytes, transactions)
            for in_flight in IN_FLIGHT
        }


async def _rate(call: Any, in_flight: int, value_bytes: int, transactions: int) -> float:
    requests = iter([_request(value_bytes) for _ in range(transactions)])

    async def work() -> None:
        for request in requests:
            response = await call(request, timeout=30.0)
            assert response.succeeded

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(work())
    return transactions * MAX_OPS / (time.perf_counter() - started)


def _request(value_bytes: int) -> bytes:
    request, prefix, value = wire.TxnRequest(), f"{ROOT}{uuid.uuid4().hex}/", b"x" * value_bytes
    for number in range(MAX_OPS):
        put = request.success.add().request_put
        put.key, put.value = f"{prefix}{number}".encode(), value
    return bytes(request.SerializeToString())
