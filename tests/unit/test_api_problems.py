"""Errors as problem+json: the status, and a sentence that says what to do."""

from __future__ import annotations

import pytest

from orchestrator.api import errors as api_errors
from orchestrator.api.problems import problem_of
from orchestrator.model import errors
from store import errors as store_errors


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (errors.ConfigError("x"), 400, "Config error"),
        (errors.NodeNotFound("x"), 404, "Node not found"),
        (errors.WorkloadNotFound("x"), 404, "Workload not found"),
        (errors.StateError("x"), 409, "State error"),
        (errors.ClusterError("x"), 409, "Cluster error"),
        (errors.SchedulingError("x"), 409, "Scheduling error"),
        (errors.NetworkError("x"), 502, "Network error"),
        (errors.RuntimeError("x"), 502, "Runtime error"),
        (errors.InternalError("x"), 500, "Internal error"),
        (errors.OrchestrationError("x"), 500, "Orchestration error"),
        (api_errors.PreconditionFailed("x"), 412, "Precondition failed"),
        (api_errors.HistoryGone("x"), 410, "History gone"),
        (api_errors.TooLarge("x"), 413, "Too large"),
        (api_errors.NotCurrent("x"), 504, "Not current"),
    ],
)
def test_our_own_errors_keep_their_sentence(
    error: errors.OrchestrationError, status: int, title: str
) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.title, problem.detail) == (status, title, "x")
    assert problem.type == "urn:orchestrator:problem:" + title.lower().replace(" ", "-")


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (store_errors.Unavailable("no route"), 503, "nothing was changed: try again later (no r"),
        (store_errors.OutcomeUnknown("x"), 504, "the change may or may not have been made"),
        (store_errors.NoSpace("x"), 507, "the store is full and takes no writes"),
        (store_errors.StoreReplaced("x"), 503, "the store is another one than before"),
        (store_errors.PermissionDenied("role"), 500, "check its etcd user and role (role)"),
        (store_errors.Invalid("too big"), 500, "the store refused the change"),
        (store_errors.Compacted("gone", 7), 500, "gone"),
    ],
)
def test_the_stores_errors_say_what_has_become_of_the_change(
    error: store_errors.StoreError, status: int, sentence: str
) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert sentence in problem.detail


def test_a_subclass_is_told_as_what_it_is() -> None:
    class NotThisNode(errors.NodeNotFound):
        pass

    assert problem_of(NotThisNode("x")).title == "Node not found"
