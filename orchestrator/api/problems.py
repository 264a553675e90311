"""What the API tells of an error: a status, and a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.api.errors import (
    HistoryGone,
    NoRoom,
    NotCurrent,
    Outdated,
    PreconditionFailed,
    TooLarge,
)
from orchestrator.model.errors import OrchestrationError
from orchestrator.model.problems import ManifestError
from orchestrator.process.problems import DOMAIN_STATUS, ProblemDetails, named_problem
from store.errors import (
    Invalid,
    NoSpace,
    OutcomeUnknown,
    PermissionDenied,
    StoreError,
    StoreReplaced,
    Unavailable,
)

_STATUS: dict[type[Exception], int] = {
    **DOMAIN_STATUS,
    TooLarge: 413,
    PreconditionFailed: 412,
    HistoryGone: 410,
    NoRoom: 507,
    NotCurrent: 504,
    Outdated: 503,
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
    return named_problem(named, status, told(error), problems)
