"""From an error to problem+json (RFC 9457): a status, and a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.api.errors import HistoryGone, NotCurrent, PreconditionFailed, TooLarge
from orchestrator.model import errors
from orchestrator.model.errors import OrchestrationError
from orchestrator.model.problems import ManifestError
from store.errors import (
    Invalid,
    NoSpace,
    OutcomeUnknown,
    PermissionDenied,
    StoreError,
    StoreReplaced,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class ProblemDetails:
    """`detail` is the sentence; `problems` are all of a manifest's, a sentence each."""

    type: str
    title: str
    status: int
    detail: str
    problems: tuple[str, ...] = ()


_STATUS: dict[type[Exception], int] = {
    errors.ConfigError: 400,
    TooLarge: 413,
    errors.NodeNotFound: 404,
    errors.WorkloadNotFound: 404,
    errors.StateError: 409,
    PreconditionFailed: 412,
    HistoryGone: 410,
    errors.ClusterError: 409,
    errors.SchedulingError: 409,
    errors.NetworkError: 502,
    errors.RuntimeError: 502,
    NotCurrent: 504,
    errors.InternalError: 500,
    OrchestrationError: 500,
    Unavailable: 503,
    OutcomeUnknown: 504,
    NoSpace: 507,
    StoreReplaced: 503,
    StoreError: 500,
}

_TOLD: dict[type[Exception], Callable[[Exception], str]] = {
    Unavailable: lambda error: (
        f"the store cannot be reached, so nothing was changed: try again later ({error})"
    ),
    OutcomeUnknown: lambda _: (
        "the store did not answer; the change may or may not have been made: read again, "
        "or repeat the same request (it is safe to repeat)"
    ),
    NoSpace: lambda _: (  # etcd has been seen to refuse a write so, and to carry it out
        "the store is full and takes no writes: compact and defragment etcd, or raise its quota, "
        "disarm its alarm, then repeat the request (it is safe to repeat)"
    ),
    StoreReplaced: lambda _: (
        "the store is another one than before, and this replica is about to start afresh: "
        "try again later"
    ),
    PermissionDenied: lambda error: (
        f"the store does not let this controller write: check its etcd user and role ({error})"
    ),
    Invalid: lambda error: f"the store refused the change, and nothing was done: {error}",
}


def problem_of(error: OrchestrationError | StoreError) -> ProblemDetails:
    """What the caller is told of `error`."""
    kinds = type(error).__mro__
    status = next(_STATUS[kind] for kind in kinds if kind in _STATUS)
    named = next(kind for kind in kinds if kind in _STATUS or kind in _TOLD)
    told = next((_TOLD[kind] for kind in kinds if kind in _TOLD), str)
    problems = (
        tuple(problem.sentence for problem in error.problems)
        if isinstance(error, ManifestError)
        else ()
    )
    slug = _words(named.__name__, "-")
    title = _words(named.__name__, " ").capitalize()
    return ProblemDetails(f"urn:orchestrator:problem:{slug}", title, status, told(error), problems)


def _words(name: str, separator: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", separator, name).lower()
