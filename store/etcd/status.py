"""What an rpc status means to the caller: a table from etcd's answers to `store.errors`.

The question is always the same: *was it done?*

| answer                                          | read        | mutation       |
|-------------------------------------------------|-------------|----------------|
| a refusal that etcd spells out (`_REFUSALS`)    | that error  | that error     |
| surely refused before it was proposed, or when  | Unavailable | Unavailable    |
| applied, and worth another try (`_NOT_DONE`)    |             |                |
| no leader, too many requests, cannot connect,   | Unavailable | Unavailable    |
| auth store changed meanwhile, learner, starting |             |                |
| leader changed, request timed out, stopped      | Unavailable | OutcomeUnknown |
| deadline, cancelled, connection lost, all else  | Unavailable | OutcomeUnknown |

`NoSpace` is the one refusal that may lie: etcd 3.4 and 3.5 answer it for the very write that
fills the quota, and keep that write. The guards of `store.transactions` make that harmless.
"""

from __future__ import annotations

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

_REFUSALS: tuple[tuple[str, type[Refused], str], ...] = (
    (
        "database space exceeded",
        NoSpace,
        "compact and defragment etcd and disarm its alarm, or raise --quota-backend-bytes",
    ),
    ("requested lease not found", LeaseNotFound, ""),
    ("lease already exists", LeaseExists, ""),
    ("required revision has been compacted", Compacted, ""),
    ("required revision is a future revision", FutureRevision, ""),
    ("permission denied", PermissionDenied, "grant this user the range of keys it needs"),
    ("user name is empty", PermissionDenied, "etcd asks for a user: give a client certificate"),
    ("invalid auth token", PermissionDenied, "give a client certificate instead of a password"),
    ("corrupt", Refused, "etcd has found its members to differ: restore the corrupt member"),
    ("grpc: received message larger", Invalid, "the request is over etcd's --max-request-bytes"),
)
"""A piece of the text, what it means, and what to do about it. The first match counts."""

_NOT_DONE = (
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
    "etcdserver: revision of auth store is old",
    "failed to connect to all addresses",
    "errors resolving",
)
"""Certain for writes too: the first four are said before anything is proposed to raft; the
fifth when the proposal is applied, instead of carrying it out; the last two when no connection
ever took the request. They are transient: another member, or the same a little later, may say
yes."""

_BY_CODE: dict[str, type[Refused]] = {
    "INVALID_ARGUMENT": Invalid,
    "OUT_OF_RANGE": Invalid,
    "FAILED_PRECONDITION": Invalid,
    "NOT_FOUND": Invalid,
    "ALREADY_EXISTS": Invalid,
    "UNIMPLEMENTED": Invalid,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": PermissionDenied,
}


def store_error(endpoint: str, code: str, details: str, *, mutation: bool) -> StoreError:
    """The error for a status `code` (by its grpc name) with etcd's or grpc's `details`."""
    text = f"etcd at {endpoint}: {details or code}"
    if any(phrase in details for phrase in _NOT_DONE):
        return Unavailable(text)
    if refused := refusal(endpoint, details):
        return refused
    if code in _BY_CODE:
        return _BY_CODE[code](text)
    if mutation:
        return OutcomeUnknown(text)
    if "message larger than max" in details:
        return Invalid(f"{text}: ask for fewer keys at a time")
    return Unavailable(text)


def refusal(endpoint: str, details: str) -> Refused | None:
    """The refusal that `details` spells out, if any. Watches have no status, only such text."""
    for phrase, error, advice in _REFUSALS:
        if phrase in details:
            return error(f"etcd at {endpoint}: {details}" + (f": {advice}" if advice else ""))
    return None
