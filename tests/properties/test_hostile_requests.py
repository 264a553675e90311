"""Requests made from the OpenAPI document, fitting and not: whatever is asked, no server error and
no answer that the document does not have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.api.endpoint import Endpoint
from orchestrator.api.responses import NDJSON
from orchestrator.api.routes import ENDPOINTS, openapi
from orchestrator.model.manifest import definition_from_json
from orchestrator.model.node import DesiredNode
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition
from tests.support.api import KEYS, manifest
from tests.support.served_api import ServedApi

Case = schemathesis.Case[Any]
SCHEMA = schemathesis.openapi.from_dict(openapi())
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
REPEATABLE = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MAX_LINE = 8000
"""Of what is asked for: longer ones are refused by the HTTP library, which knows no problems."""

STREAM_SECONDS = 0.2
"""Until a stream that may never end counts as read."""

INSTANCE = "default.web.0.1"
NAMES = {
    "instance": (INSTANCE, INSTANCE, "default.web.9.9", "none"),
    "like": ("n1",),
    "name": ("web",),
    "namespace": ("default", "default", "default", "other"),
    "node": ("n1", "n1", "n2", "none"),
    "to": ("n2", "none"),
    "workload": ("web", "web", "new"),
} | {f"{way}_node": ("n1", "n2") for way in ("from", "to")}
PATH_NAMES = {"workloads": "workload", "instances": "instance", "nodes": "node"}


@pytest.fixture(scope="module")
def served() -> Iterator[ServedApi]:
    with ServedApi(read_patience_seconds=0.02, heartbeat_seconds=0.05) as serving:
        for node in ("n1", "n2"):
            serving.add_node(node)
        serving.add_instance(INSTANCE, "n1", "a line")
        yield serving


def populate(served: ServedApi) -> None:
    """With what earlier examples may have changed or deleted."""
    spec = definition_from_json(manifest(name="web"))
    served.put(KEYS.workload(spec.key), DesiredWorkload(spec, 1))
    served.put(KEYS.revision(spec.key, 1), spec.template())
    served.put(KEYS.desired_node("n1"), DesiredNode())


def aim(case: Case, endpoint: Endpoint[Any], draw: st.DataObject) -> None:
    """At what is there, more often than not: what merely fits the document is soon refused."""
    if draw.draw(st.integers(0, 3)):
        case.query.pop("min_revision", None)
    kind = PATH_NAMES.get(endpoint.path.split("/")[2], "")
    for name in case.path_parameters:
        known = NAMES.get(kind if name == "name" else name)
        if known is not None:
            case.path_parameters[name] = draw.draw(st.sampled_from(known))
    if endpoint.body is WorkloadDefinition and isinstance(case.body, dict):
        chosen = draw.draw(st.sampled_from(("", *sorted(case.body))))
        odd = {chosen: case.body[chosen]} if chosen else {}
        case.body = {**manifest(), **case.path_parameters, **odd}
    else:
        case.body = grounded(case.body, draw)


def grounded(value: Any, draw: st.DataObject) -> Any:
    """The same with names of what is there."""
    if isinstance(value, list):
        return [grounded(each, draw) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: draw.draw(st.sampled_from(NAMES[name]))
        if name in NAMES and isinstance(member, str)
        else grounded(member, draw)
        for name, member in value.items()
    }


def send(case: Case, served: ServedApi) -> requests.Response:
    """Its answer; of one that may never end, what comes at once."""
    asked = case.as_transport_kwargs(base_url=served.servers[0])
    with requests.Session() as session:
        request = session.prepare_request(requests.Request(**asked))
        assume(len(request.path_url) < MAX_LINE)
        answer = session.send(request, stream=True)
        if answer.headers.get("Content-Type") == NDJSON:
            answer._content = told_at_once(answer)
            answer._content_consumed = True
        assert answer.content is not None
        return answer


def told_at_once(answer: requests.Response) -> bytes:
    """The whole lines that come before nothing comes for a while."""
    answer.raw.connection.sock.settimeout(STREAM_SECONDS)
    told = bytearray()
    with contextlib.suppress(requests.ConnectionError):
        for chunk in answer.iter_content(None):
            told += chunk
            if b'"SYNC"' in told:
                break
    return bytes(told[: told.rfind(b"\n") + 1])


def judge(case: Case, endpoint: Endpoint[Any], answer: requests.Response) -> None:
    if answer.status_code == 504 and {"min_revision", "from_revision"} & case.query.keys():
        return  # this replica has not read so far
    case.validate_response(answer, checks=CHECKS)
    if answer.ok and endpoint.is_stream:
        for line in answer.content.splitlines():
            TypeAdapter(endpoint.answer).validate_json(line, strict=True)


def asked_of_each() -> Iterator[object]:
    """Nothing is unfit where any text is as good as another."""
    for endpoint in ENDPOINTS:
        name = f"{endpoint.method} {endpoint.path}"
        yield pytest.param(endpoint, GenerationMode.POSITIVE, id=f"{name} fitting")
        if fields(endpoint.query) or endpoint.body:
            yield pytest.param(endpoint, GenerationMode.NEGATIVE, id=f"{name} unfit")


@pytest.mark.parametrize(("endpoint", "mode"), [*asked_of_each()])
def test_whatever_is_asked_has_an_answer_of_the_document(
    endpoint: Endpoint[Any], mode: GenerationMode, served: ServedApi
) -> None:
    operation = SCHEMA[endpoint.path][endpoint.method]

    @REPEATABLE
    @given(operation.as_strategy(mode), st.data())
    def ask(case: Case, draw: st.DataObject) -> None:
        if mode is GenerationMode.POSITIVE:
            aim(case, endpoint, draw)
        populate(served)
        answer = send(case, served)
        judge(case, endpoint, answer)

    ask()
