"""What etcd refuses to look at: malformed requests and those over its limits."""

from __future__ import annotations

from itertools import product

from store.errors import Invalid
from store.memory.keyspace import encoded
from store.values import DeleteOp, Op, PutOp, Txn

MAX_OPS = 128
MAX_REQUEST_BYTES = 1_572_864


def check_key(key: str) -> None:
    if not key:
        raise Invalid("a key must not be empty")


def check_txn(txn: Txn) -> None:
    """Raises `Invalid`."""
    if max(len(txn.compares), len(txn.success), len(txn.failure)) > MAX_OPS:
        raise Invalid(f"too many operations in a transaction: more than {MAX_OPS}")
    size = 0
    for compare in txn.compares:
        check_key(compare.key)
        size += len(compare.key)
    for branch in (txn.success, txn.failure):
        size += _checked_size(branch)
        _check_duplicates(branch)
    if size > MAX_REQUEST_BYTES:
        raise Invalid(f"a request of {size} bytes is too large: more than {MAX_REQUEST_BYTES}")


def _checked_size(branch: tuple[Op, ...]) -> int:
    size = 0
    for op in branch:
        check_key(op.key)
        size += len(op.key)
        if isinstance(op, PutOp):
            size += len(op.value)
    return size


def _check_duplicates(branch: tuple[Op, ...]) -> None:
    """No key is put twice, nor put and deleted, whatever the order. Deletes may overlap.

    etcd's own blind spot is kept: a delete to the end of the key space ("\\0") collides
    with nothing.
    """
    if len(branch) < 2:
        return
    puts: dict[str, None] = {}
    deletes: list[DeleteOp] = []
    for op in branch:
        if isinstance(op, PutOp):
            if op.key in puts:
                raise Invalid(f"duplicate key {op.key!r} in a transaction")
            puts[op.key] = None
        elif isinstance(op, DeleteOp):
            deletes.append(op)
    for delete, key in product(deletes, puts):
        if _covers(delete, key):
            raise Invalid(f"duplicate key {key!r} in a transaction")


def _covers(delete: DeleteOp, key: str) -> bool:
    if not delete.range_end:
        return delete.key == key
    return encoded(delete.key) <= encoded(key) < encoded(delete.range_end)
