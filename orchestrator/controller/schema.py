"""Which layout of keys and records this store holds: written once, checked by every leader.

A row that cannot be read keeps nobody from leading: no release writes one, so people have damaged
it, and what it said is what this process has read before, or else our own version.
"""

from __future__ import annotations

import structlog

from orchestrator.cluster.view import ClusterView
from orchestrator.model.errors import ConfigError
from orchestrator.model.records import Schema, dump
from store.commit import commit_as_leader
from store.patience import Patience
from store.transactions import Leadership, Put, Transaction

log = structlog.get_logger()


async def ensure_schema(
    view: ClusterView, leadership: Leadership, patience: Patience, *, store_id: str
) -> None:
    """`store_id` is that of a store which has none yet. A damaged row is repaired if it has been
    read before. Raises `ConfigError` on a store that a newer release has laid out."""
    if refusal := view.state.refusal:
        raise ConfigError(refusal)
    key, known = view.keys.schema, view.state.schema
    damage = view.state.damaged.get(key)
    if damage and not known:
        log.error("the schema cannot be read: restore its row", problem=damage.reason)
    elif damage or not known:
        schema = known.record if known else Schema(store_id=store_id)
        value = dump(schema, view.state.unknown_of(key))
        put = Put(key, value, damage.mod_revision if damage else 0)
        op = f"schema-{leadership.epoch}"
        await commit_as_leader(view.store, Transaction((put,), op, leadership), patience)
