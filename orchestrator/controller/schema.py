"""Which layout of keys and records this store holds: written once, checked by every leader."""

from __future__ import annotations

from orchestrator.cluster.view import ClusterView
from orchestrator.model.errors import ConfigError
from orchestrator.model.records import Schema, dump
from store.commit import commit_as_leader
from store.patience import Patience
from store.transactions import Leadership, Put, Transaction

VERSION = Schema().version


async def ensure_schema(
    view: ClusterView, leadership: Leadership, patience: Patience, *, store_id: str
) -> None:
    """`store_id` is that of a store which has none yet. Raises `ConfigError` on a store that a
    newer release has laid out."""
    key = view.keys.schema
    if view.state.schema is None and key not in view.state.damaged:
        put = Put(key, dump(Schema(VERSION, store_id)), base=0)
        op = f"schema-{leadership.epoch}"
        await commit_as_leader(view.store, Transaction((put,), op, leadership), patience)
    check_schema(view)


def check_schema(view: ClusterView) -> None:
    if damage := view.state.damaged.get(view.keys.schema):
        raise ConfigError(f"{damage.reason}; restore the key or point to another root")
    found = view.state.schema
    if found and found.record.version > VERSION:
        raise ConfigError(
            f"this store is laid out by schema version {found.record.version}, but this release"
            f" knows {VERSION} at most: install the newer release"
        )
