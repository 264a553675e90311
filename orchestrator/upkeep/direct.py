"""For commands that speak to etcd themselves, once: they need no controller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from orchestrator.cluster.connect import StoreAddress, open_store
from orchestrator.model.errors import ClusterError
from orchestrator.process.clock import boottime
from store.errors import StoreError
from store.protocol import Store

T = TypeVar("T")

WAIT_SECONDS = 5.0


def with_store(address: StoreAddress, ask: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """What `ask` returns. Any version of etcd will do: who is in need cannot choose.

    Raises `NetworkError` where nobody answers, and `ClusterError` for what the store refuses.
    """

    async def asking() -> T:
        store, _ = await open_store(
            address,
            development=True,
            clock=boottime,
            rng=random.Random(),
            wait_seconds=WAIT_SECONDS,
        )
        try:
            return await ask(store)
        finally:
            await store.close()

    try:
        return asyncio.run(asking())
    except StoreError as error:
        raise ClusterError(str(error)) from None
