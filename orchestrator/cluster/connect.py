"""From settings to a store that is reachable and fit to be trusted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.model.errors import ConfigError, NetworkError
from store.errors import Invalid, PermissionDenied, StoreError, Unavailable, UnfitVersion
from store.etcd import EtcdStore, Tls
from store.maintenance import check_versions
from store.patience import Clock, Patience
from store.protocol import Store

log = structlog.get_logger()

STORE_WAIT_SECONDS = 30.0
"""How long a process that starts waits for etcd, if there is nothing else for it to do."""

STORE_ERRORS: tuple[type[Exception], ...] = (StoreError,)
"""What ends a process with a sentence for its user; main programs need not know the store."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where etcd is, and with which certificates we come to it."""

    endpoints: Sequence[str]
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


def connect(address: StoreAddress, *, clock: Clock, rng: random.Random) -> Store:
    """The store, whether or not anybody answers there. Raises `ConfigError` for bad certificates
    and addresses."""
    try:
        return EtcdStore(address.endpoints, tls=_tls(address), clock=clock, rng=rng)
    except Invalid as invalid:
        raise ConfigError(str(invalid)) from None


async def open_store(
    address: StoreAddress,
    *,
    development: bool,
    clock: Clock,
    rng: random.Random,
    wait_seconds: float = STORE_WAIT_SECONDS,
) -> tuple[Store, list[str]]:
    """The store, and warnings about its version that are worth a person's time.

    Waits up to `wait_seconds` for etcd. Raises `NetworkError` if it stays unreachable, and
    `ConfigError` for bad certificates, a refused one, or a version that loses data.
    """
    store = connect(address, clock=clock, rng=rng)
    try:
        return store, await checked(
            store,
            address,
            development=development,
            clock=clock,
            rng=rng,
            wait_seconds=wait_seconds,
        )
    except BaseException:
        await store.close()
        raise


async def checked(
    store: Store,
    address: StoreAddress,
    *,
    development: bool,
    clock: Clock,
    rng: random.Random,
    wait_seconds: float,
) -> list[str]:
    """The warnings, once etcd answers; raises as `open_store` does."""
    patience = Patience(clock, rng, wait_seconds)
    attempts = 0
    try:
        async for attempt in patience.retrying(Unavailable):
            with attempt:
                attempts += 1
                if attempts == 2:
                    log.info("waiting for etcd", endpoints=list(address.endpoints))
                return await check_versions(store, development=development)
    except Unavailable as error:
        endpoints = ", ".join(address.endpoints)
        raise NetworkError(
            f"etcd at {endpoints} cannot be reached ({error}): start it, or correct"
            " --etcd-endpoints"
        ) from None
    except UnfitVersion as unfit:
        raise ConfigError(str(unfit)) from None
    except PermissionDenied as denied:
        raise ConfigError(
            f"etcd refuses us ({denied}): check the client certificate's name and its role"
        ) from None
    raise AssertionError("retrying ends by an answer or an error")


def _tls(address: StoreAddress) -> Tls | None:
    if address.ca_file is None:
        if address.cert_file or address.key_file:
            raise ConfigError("a client certificate for etcd needs --etcd-ca-file as well")
        return None
    return Tls(address.ca_file, address.cert_file, address.key_file)
