"""`Admission`: is this the store that our instances were assigned by? Asked before it is obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.agent.home import AgentHome
from orchestrator.cluster.reading import read_until_answered
from orchestrator.model.errors import ClusterError, StateError
from orchestrator.model.keys import Keys
from orchestrator.model.records import Schema, load
from store.lineage import PROBES
from store.patience import Patience
from store.protocol import Store
from store.values import Header, RangeOp, RangeResult

log = structlog.get_logger()

PROBE_SECONDS = 0.5

STORE_ID_SECONDS = 0.25
"""Between two looks for the id of a store that has none yet."""

Admit = Callable[[bool], Awaitable[None]]
"""Returns when the store can be reached and is fit to be obeyed. The bool: it is waited for without
end, as there is something to look after meanwhile."""


async def vouched_for(_is_patient: bool) -> None:
    """An `Admit`: whoever gives the store knows that it is fit."""


class Admission:
    """`patience` is without end."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        home: AgentHome,
        *,
        patience: Callable[[], Patience],
        admit: Admit,
    ) -> None:
        self._store = store
        self._keys = keys
        self._node = node
        self._home = home
        self._patience = patience
        self._admit = admit

    async def check(self, *, is_patient: bool, accepts_store: bool) -> None:
        """Raises `ClusterError` for another store, or one that has gone back, unless a person
        accepts it, and for one laid out for a newer release; and what `admit` raises."""
        await self._admit(is_patient)
        header = await self._newest_header()
        store_id = await self._store_id()
        if store_id is None:
            store_id = self._home.identity.store_id
        await self._home.check_store(
            header.cluster_id, header.revision, store_id, accept=accepts_store
        )

    async def know_store(self) -> None:
        """Before anything of it is done, or a wiped one would later pass for the first ever seen.
        One without an id has had no leader, so nothing is assigned yet."""
        while not self._home.identity.store_id:
            store_id = await self._store_id()
            if store_id is None:
                return  # damaged: it is obeyed as it is
            if store_id:
                await self._home.note_store(store_id)
            else:
                await asyncio.sleep(STORE_ID_SECONDS)

    async def _store_id(self) -> str | None:
        """Empty as long as no leader has ever been there; None if its row is damaged. Raises
        `ClusterError` for one that is laid out for a newer release."""
        kvs = (await self._read(RangeOp(self._keys.schema))).kvs
        try:
            schema = load(self._keys.parse(self._keys.schema), kvs[0].value) if kvs else Schema()
        except StateError as error:
            log.warning("the store's schema cannot be read", problem=str(error))
            return None
        assert isinstance(schema, Schema)
        if schema.refusal:
            raise ClusterError(f"{schema.refusal}. Nothing has been stopped")
        return schema.store_id

    async def _newest_header(self) -> Header:
        """A read may come from the past for a moment (etcd #20418): one answer convicts nobody."""
        question = RangeOp(self._keys.assignments(self._node), keys_only=True)
        header = Header(0, 0, 0, 0)
        for _ in range(PROBES):
            header = (await self._read(question)).header
            if header.revision >= self._home.identity.revision:
                break
            await asyncio.sleep(PROBE_SECONDS)
        return header

    async def _read(self, question: RangeOp) -> RangeResult:
        return await read_until_answered(self._store, question, self._patience())
