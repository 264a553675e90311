"""Between the store's values and etcd's messages."""

from __future__ import annotations

from typing import Any

from store.etcd import wire
from store.values import (
    Compare,
    DeleteOp,
    DeleteResult,
    Event,
    Header,
    KeyValue,
    Op,
    OpResult,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    Txn,
    TxnResult,
    WatchResponse,
)

_OPERAND_FIELDS = ("version", "create_revision", "mod_revision", "value", "lease")
"""By the numbers of `Target`."""

_PUT_RESULT = PutResult()


def key_bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def key_text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def range_request(op: RangeOp) -> Any:
    request = wire.RangeRequest()
    _fill_range(request, op)
    return request


def txn_request(txn: Txn) -> Any:
    """Messages are filled in place: built from keywords they cost three times as much."""
    request = wire.TxnRequest()
    add_compare = request.compare.add
    add_success, add_failure = request.success.add, request.failure.add
    for compare in txn.compares:
        _fill_compare(add_compare(), compare)
    for op in txn.success:
        _fill_op(add_success(), op)
    for op in txn.failure:
        _fill_op(add_failure(), op)
    return request


def watch_request(key: str, range_end: str | None, start_revision: int) -> Any:
    return wire.WatchRequest(
        create_request=wire.WatchCreateRequest(
            key=key_bytes(key),
            range_end=_end_bytes(range_end),
            start_revision=start_revision,
            progress_notify=True,
            fragment=True,
        )
    )


def header(message: Any) -> Header:
    return Header(message.cluster_id, message.member_id, message.revision, message.raft_term)


def range_result(message: Any) -> RangeResult:
    kvs = tuple(map(_key_value, message.kvs))
    return RangeResult(header(message.header), kvs, message.more, message.count)


def txn_result(message: Any) -> TxnResult:
    """The ranges of a transaction carry no header of their own in etcd; they get the whole's."""
    whole = header(message.header)
    results = tuple(_op_result(response, whole) for response in message.responses)
    return TxnResult(whole, message.succeeded, results)


def watch_response(message: Any) -> WatchResponse:
    return WatchResponse(
        header=header(message.header),
        events=tuple(map(_event, message.events)),
        created=message.created,
        canceled=message.canceled,
        cancel_reason=message.cancel_reason,
        compact_revision=message.compact_revision,
        is_fragment=message.fragment,
    )


def _end_bytes(range_end: str | None) -> bytes:
    return b"" if range_end is None else key_bytes(range_end)


def _fill_compare(message: Any, compare: Compare) -> None:
    message.key = key_bytes(compare.key)
    message.target = compare.target
    if compare.relation:
        message.result = compare.relation
    setattr(message, _OPERAND_FIELDS[compare.target], compare.operand)


def _fill_op(message: Any, op: Op) -> None:
    if isinstance(op, PutOp):
        put = message.request_put
        put.key = key_bytes(op.key)
        put.value = op.value
        put.lease = op.lease
    elif isinstance(op, DeleteOp):
        delete = message.request_delete_range
        delete.key = key_bytes(op.key)
        delete.range_end = _end_bytes(op.range_end)
    else:
        _fill_range(message.request_range, op)


def _fill_range(message: Any, op: RangeOp) -> None:
    """What is left at its default costs nothing: most ranges are a key and no more."""
    message.key = key_bytes(op.key)
    if op.range_end is not None:
        message.range_end = key_bytes(op.range_end)
    if op.limit:
        message.limit = op.limit
    if op.revision:
        message.revision = op.revision
    if op.keys_only:
        message.keys_only = True
    if op.count_only:
        message.count_only = True
    if op.serializable:
        message.serializable = True


def _op_result(message: Any, whole: Header) -> OpResult:
    kind = message.WhichOneof("response")
    if kind == "response_put":
        return _PUT_RESULT
    if kind == "response_delete_range":
        return DeleteResult(message.response_delete_range.deleted)
    found = message.response_range
    return RangeResult(whole, tuple(map(_key_value, found.kvs)), found.more, found.count)


def _key_value(message: Any) -> KeyValue:
    return KeyValue(
        key_text(message.key),
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def _event(message: Any) -> Event:
    return Event(_key_value(message.kv), message.type == wire.DELETE_EVENT)
