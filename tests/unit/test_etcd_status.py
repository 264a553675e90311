"""What etcd's and grpc's statuses mean to a reader and to a writer."""

from __future__ import annotations

import pytest

from store.errors import (
    Compacted,
    FutureRevision,
    Invalid,
    LeaseExists,
    LeaseNotFound,
    NoSpace,
    OutcomeUnknown,
    PermissionDenied,
    Refused,
    StoreError,
    Unavailable,
)
from store.etcd.status import store_error

REFUSED: list[tuple[str, str, type[StoreError]]] = [
    ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", NoSpace),
    ("NOT_FOUND", "etcdserver: requested lease not found", LeaseNotFound),
    ("FAILED_PRECONDITION", "etcdserver: lease already exists", LeaseExists),
    ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", Compacted),
    ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision", FutureRevision),
    ("OUT_OF_RANGE", "etcdserver: too large lease TTL", Invalid),
    ("INVALID_ARGUMENT", "etcdserver: request is too large", Invalid),
    ("INVALID_ARGUMENT", "etcdserver: too many operations in txn request", Invalid),
    ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", Invalid),
    ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (3 vs. 2)", Invalid),
    ("UNIMPLEMENTED", "unknown service etcdserverpb.KV", Invalid),
    ("PERMISSION_DENIED", "etcdserver: permission denied", PermissionDenied),
    ("INVALID_ARGUMENT", "etcdserver: user name is empty", PermissionDenied),
    ("UNAUTHENTICATED", "etcdserver: invalid auth token", PermissionDenied),
    ("DATA_LOSS", "etcdserver: corrupt cluster", Refused),
]

NOT_DONE = [
    ("UNAVAILABLE", "etcdserver: no leader"),
    ("RESOURCE_EXHAUSTED", "etcdserver: too many requests"),
    ("UNAVAILABLE", "etcdserver: rpc not supported for learner"),
    ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old"),
    ("UNAVAILABLE", "failed to connect to all addresses; last error: refused"),
    ("UNAVAILABLE", "errors resolving nowhere:1: [Domain name not found]"),
]

UNKNOWN = [
    ("UNAVAILABLE", "etcdserver: leader changed"),
    ("UNAVAILABLE", "etcdserver: request timed out"),
    ("UNAVAILABLE", "etcdserver: request timed out, possibly due to connection lost"),
    ("UNAVAILABLE", "etcdserver: server stopped"),
    ("UNAVAILABLE", "Socket closed"),
    ("UNAVAILABLE", "ping timeout"),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded"),
    ("CANCELLED", "context canceled"),
    ("INTERNAL", ""),
    ("UNKNOWN", "something new"),
]


@pytest.mark.parametrize("mutation", [True, False])
@pytest.mark.parametrize(("code", "details", "expected"), REFUSED)
def test_a_refusal_is_a_refusal_for_reads_and_writes(
    code: str, details: str, expected: type[StoreError], mutation: bool
) -> None:
    error = store_error("m0", code, details, mutation=mutation)
    assert type(error) is expected
    assert details in str(error)


@pytest.mark.parametrize("mutation", [True, False])
@pytest.mark.parametrize(("code", "details"), NOT_DONE)
def test_what_was_surely_not_done_is_unavailable(code: str, details: str, mutation: bool) -> None:
    assert type(store_error("m0", code, details, mutation=mutation)) is Unavailable


@pytest.mark.parametrize(("code", "details"), UNKNOWN)
def test_everything_else_is_unknown_for_writes_and_unavailable_for_reads(
    code: str, details: str
) -> None:
    assert type(store_error("m0", code, details, mutation=True)) is OutcomeUnknown
    assert type(store_error("m0", code, details, mutation=False)) is Unavailable


def test_an_answer_too_large_to_receive_is_no_reason_to_try_again() -> None:
    details = "CLIENT: Received message larger than max (80000000 vs. 67108864)"
    error = store_error("m0", "RESOURCE_EXHAUSTED", details, mutation=False)
    assert type(error) is Invalid
    assert "fewer keys" in str(error)


def test_an_error_names_the_member_and_says_what_to_do() -> None:
    details = "etcdserver: mvcc: database space exceeded"
    error = store_error("https://m0:2379", "RESOURCE_EXHAUSTED", details, mutation=True)
    assert str(error).startswith("etcd at https://m0:2379: ")
    assert "disarm" in str(error)
