"""`Registration`: a node's place in the cluster: its session, and the fence that proves it.

The session key is created once per life of the agent; its `create_revision` is the agent's own
epoch, and every write of the agent is compared with it. So a node that comes back fences its
former self, and a second agent with the same name is refused.
"""

from __future__ import annotations

import random

import structlog

from orchestrator.model.errors import ClusterError, StateError
from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeSession
from orchestrator.model.records import dump, load
from store.errors import LeaseNotFound, OutcomeUnknown, SessionLost, Unavailable
from store.patience import Clock, Patience
from store.protocol import Store
from store.session import Session
from store.transactions import Committed, Conflict, Put, SessionFence, Transaction, commit
from store.values import KeyValue, RangeOp

log = structlog.get_logger()


class Registration:
    """One session of one node. A lost one stays lost: register anew."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        identity: NodeSession,
        *,
        ttl_seconds: int,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.node = node
        self._store = store
        self._keys = keys
        self._identity = identity
        self._rng = rng
        self.session = Session(store, ttl_seconds=ttl_seconds, clock=clock, rng=rng)

    async def register(self, patience: Patience) -> SessionFence:
        """Create the session. An earlier session of this very agent is ended first.

        Raises `ClusterError` while another agent of that name lives, and `SessionLost` when the
        new session ends before the store has taken it.
        """
        await self.session.open(patience)
        key = self._keys.session(self.node)
        while True:
            put = Put(key, dump(self._identity), base=0, lease=self.session.lease_id)
            op = f"{self._rng.getrandbits(96):024x}"
            try:
                outcome = await commit(self._store, Transaction((put,), op, None), patience)
            except LeaseNotFound as error:
                raise SessionLost(f"the session ended before it was registered: {error}") from error
            if isinstance(outcome, Committed):
                return SessionFence(key, outcome.revision)
            assert isinstance(outcome, Conflict)
            await self._end_former_self(key, patience)

    async def _end_former_self(self, key: str, patience: Patience) -> None:
        found = await self._read(key, patience)
        if found is None:
            return
        holder = self._holder(key, found)
        if holder.agent_id != self._identity.agent_id:
            raise ClusterError(
                f"the node name {self.node!r} is in use by the agent with pid {holder.pid} on"
                f" {holder.hostname or 'an unknown host'}: stop that one, or choose another --node"
            )
        log.info("ending the session of this agent's former life", lease=found.lease)
        try:
            async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
                with attempt:
                    await self._store.revoke_lease(found.lease)
        except LeaseNotFound:
            log.info("that session has ended already")

    async def _read(self, key: str, patience: Patience) -> KeyValue | None:
        result = None
        async for attempt in patience.retrying(Unavailable):
            with attempt:
                result = await self._store.range(RangeOp(key))
        return result.kvs[0] if result and result.kvs else None

    def _holder(self, key: str, found: KeyValue) -> NodeSession:
        try:
            record = load(self._keys.parse(key), found.value)
        except StateError as error:
            raise ClusterError(
                f"{error}; wait for its lease to end, or delete the key {key}"
            ) from None
        assert isinstance(record, NodeSession)
        return record
