"""Errors as problem+json (RFC 9457), told alike by every server of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aiohttp import web

from orchestrator.model import errors

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemDetails:
    """`detail` is the sentence; `problems` are all of a manifest's, a sentence each."""

    type: str
    title: str
    status: int
    detail: str
    problems: tuple[str, ...] = ()


DOMAIN_STATUS: Mapping[type[Exception], int] = {
    errors.ConfigError: 400,
    errors.NodeNotFound: 404,
    errors.WorkloadNotFound: 404,
    errors.StateError: 409,
    errors.ClusterError: 409,
    errors.SchedulingError: 409,
    errors.NetworkError: 502,
    errors.RuntimeError: 502,
    errors.InternalError: 500,
    errors.OrchestrationError: 500,
}
"""The HTTP status of each error of the domain; a subclass has that of its nearest ancestor."""


def domain_problem(error: errors.OrchestrationError) -> ProblemDetails:
    kind = next(kind for kind in type(error).__mro__ if kind in DOMAIN_STATUS)
    return named_problem(kind, DOMAIN_STATUS[kind], str(error))


def named_problem(
    kind: type[Exception], status: int, detail: str, problems: tuple[str, ...] = ()
) -> ProblemDetails:
    """With the type and the title that the name of the error's class makes."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
    urn = f"urn:orchestrator:problem:{words.replace(' ', '-')}"
    return ProblemDetails(urn, words.capitalize(), status, detail, problems)


def plain_problem(status: int, title: str, detail: str) -> web.Response:
    """For what HTTP itself has a name for: the status says all that a program needs."""
    return problem_response(ProblemDetails("about:blank", title, status, detail))


def problem_response(problem: ProblemDetails) -> web.Response:
    body = asdict(problem)
    if not problem.problems:
        del body["problems"]
    return web.json_response(body, status=problem.status, content_type=PROBLEM_JSON)
