"""`Registration`: a node's place in the cluster: its session, and the fence that proves it.

The session key is created once per life of the agent; its `create_revision` is the agent's own
epoch, and every write of the agent is compared with it. So a node that comes back fences its
former self, and a second agent with the same name is refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from orchestrator.cluster.reading import read_until_answered
from orchestrator.model.errors import ClusterError, StateError
from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeSession
from orchestrator.model.records import dump, load
from store.commit import commit
from store.errors import LeaseNotFound, OutcomeUnknown, SessionLost, Unavailable
from store.patience import Clock, Patience
from store.protocol import Store
from store.session import Session
from store.transactions import (
    Committed,
    Conflict,
    Delete,
    Outcome,
    Put,
    SessionFence,
    Transaction,
    new_op,
)
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
        before_revoking: Callable[[], None] = lambda: None,
        former_epoch: int = 0,
    ) -> None:
        """`before_revoking` is called when an earlier session of this very agent is about to be
        ended before its time. `former_epoch` is that of the one that this process has had before:
        its row is ours, whatever people have written over it."""
        self.node = node
        self._store = store
        self._keys = keys
        self._identity = identity
        self._rng = rng
        self._before_revoking = before_revoking
        self._former_epoch = former_epoch
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
            try:
                outcome = await self._commit(put, patience)
            except LeaseNotFound as error:
                raise SessionLost(f"the session ended before it was registered: {error}") from error
            if isinstance(outcome, Committed):
                return SessionFence(key, outcome.revision)
            assert isinstance(outcome, Conflict)
            await self._end_former_self(key, patience)

    async def _end_former_self(self, key: str, patience: Patience) -> None:
        kvs = (await read_until_answered(self._store, RangeOp(key), patience)).kvs
        if not kvs:
            return
        found = kvs[0]
        self._refuse_others(key, found)
        log.info("ending the session of this agent's former life", lease=found.lease)
        self._before_revoking()
        if not found.lease:  # somebody has written over the row, and so taken it off its lease
            await self._commit(Delete(key, found.mod_revision), patience)
            return
        try:
            async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
                with attempt:
                    await self._store.revoke_lease(found.lease)
        except LeaseNotFound:
            log.info("that session has ended already")

    async def _commit(self, mutation: Put | Delete, patience: Patience) -> Outcome:
        return await commit(
            self._store, Transaction((mutation,), new_op(self._rng), None), patience
        )

    def _refuse_others(self, key: str, found: KeyValue) -> None:
        if found.create_revision == self._former_epoch:
            return
        holder = self._holder(key, found)
        if holder.agent_id == self._identity.agent_id:
            return
        which = (
            f"the node name {self.node!r} is in use by the agent with pid {holder.pid} on"
            f" {holder.hostname or 'an unknown host'}"
        )
        if found.lease:
            raise ClusterError(f"{which}: stop that one, or choose another --node")
        raise ClusterError(
            f"{which}, and its session has no lease that could end: once that agent is stopped,"
            f" delete the key {key}, or choose another --node"
        )

    def _holder(self, key: str, found: KeyValue) -> NodeSession:
        try:
            record = load(self._keys.parse(key), found.value)
        except StateError as error:
            raise ClusterError(
                f"{error}; wait for its lease to end, or delete the key {key}"
            ) from None
        assert isinstance(record, NodeSession)
        return record
