"""The OpenAPI document: it holds every route, and what is answered is what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from pydantic import TypeAdapter

from orchestrator.api.routes import ENDPOINTS
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.process.problems import ProblemDetails
from tests.support.api import KEYS, World, manifest, world

WEB = "/v1/workloads/default/web"
MOVE = {"instance": "default.web.0.1", "from_node": "n1", "to_node": "n2", "reason": "so"}
MOVES = {"moves": [{**MOVE, "assignment": 1}]}
PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))


async def populate(there: World) -> None:
    await there.add_node("n1")
    await there.report(PLACE, await there.assign(PLACE))


def references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


async def test_every_route_is_in_the_document() -> None:
    async with world() as there, there.replica() as replica:
        document = (await replica.get("/v1/openapi.json")).body
        app = web.Application()
        app.add_routes([endpoint.route(replica.api) for endpoint in ENDPOINTS])
        routes = {
            (route.resource.canonical, route.method.lower())
            for route in app.router.routes()
            if route.resource and route.method != "HEAD"
        }
    documented = {
        (path, method) for path, operations in document["paths"].items() for method in operations
    }
    assert documented == routes
    assert document["openapi"].startswith("3.1")


async def test_the_document_is_whole() -> None:
    async with world() as there, there.replica() as replica:
        document = (await replica.get("/v1/openapi.json")).body
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
    operations = [each for path in document["paths"].values() for each in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for path, operations_by_method in document["paths"].items():
        for operation in operations_by_method.values():
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert "default" in operation["responses"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/workloads", None),
        ("GET", "/v1/workloads/{namespace}/{name}", None),
        ("PUT", "/v1/workloads/{namespace}/{name}", manifest(replicas=4)),
        ("PUT", "/v1/workloads/{namespace}/{name}/scale", {"replicas": 9}),
        ("DELETE", "/v1/workloads/{namespace}/{name}", None),
        ("GET", "/v1/instances", None),
        ("GET", "/v1/instances/{name}", None),
        ("PUT", "/v1/instances/{name}/move", {"to": "n2"}),
        ("GET", "/v1/rebalance", None),
        ("POST", "/v1/moves", MOVES),
        ("POST", "/v1/whatif", {"changes": [{"change": "lose_node", "node": "n1"}]}),
        ("GET", "/v1/critical-nodes", None),
        ("GET", "/v1/nodes", None),
        ("GET", "/v1/nodes/{name}", None),
        ("PATCH", "/v1/nodes/{name}", {"availability": "cordoned"}),
        ("PATCH", "/v1/nodes/{name}", {"taints": [{"key": "gpu"}], "remove_taints": ["a"]}),
        ("GET", "/v1/events", None),
        ("GET", "/v1/cluster", None),
    ],
)
async def test_answers_are_what_the_document_says(method: str, path: str, body: Any) -> None:
    async with world() as there, there.replica() as replica:
        await populate(there)
        await there.add_node("n2")
        await replica.call("PUT", WEB, manifest())
        await replica.view.reached(there.revision)
        name = {"instances": str(PLACE.instance), "nodes": "n1"}.get(path.split("/")[2], "web")
        answer = await replica.call(method, path.format(namespace="default", name=name), body)
    [endpoint] = [each for each in ENDPOINTS if (each.method, each.path) == (method, path)]
    assert answer.status in (200, 201)
    _require_exact(endpoint.answer, answer.body)


@pytest.mark.parametrize("kind", ["workloads", "instances", "nodes", "events"])
async def test_lines_of_a_watch_are_what_the_document_says(kind: str) -> None:
    [endpoint] = [each for each in ENDPOINTS if each.path == "/v1/watch"]
    async with world() as there, there.replica() as replica:
        await populate(there)
        await replica.call("PUT", WEB, manifest())
        await replica.view.reached(there.revision)
        async with replica.stream(f"/v1/watch?kind={kind}") as lines:
            found = await lines.until("SYNC")
    assert len(found) == 2
    for line in found:
        TypeAdapter(endpoint.answer).validate_json(json.dumps(line), strict=True)


async def test_problems_are_what_the_document_says() -> None:
    async with world() as there, there.replica() as replica:
        plain = await replica.get("/v1/nodes/none")
        listed = await replica.call("PUT", WEB, manifest(replicas=-1))
        unknown = await replica.get("/v1/nonsense")
        await there.drop(KEYS.leader)
    for answer in (plain, listed, unknown):
        TypeAdapter(ProblemDetails).validate_json(json.dumps(answer.body), strict=True)
    assert "problems" not in plain.body
    assert len(listed.body["problems"]) == 1


async def test_reads_can_be_asked_for_their_headers_only_but_streams_cannot() -> None:
    async with world() as there, there.replica() as replica:
        async with replica.client.head("/v1/nodes") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert answer.headers["X-Revision"] == str(there.revision)
        async with replica.client.head("/v1/watch?kind=nodes") as refused:
            assert refused.status == 405


def _require_exact(form: Any, body: Any) -> None:
    """Valid, with nothing beside what the type has: writing it again gives the same."""
    adapter = TypeAdapter(form)
    value = adapter.validate_json(json.dumps(body), strict=True)
    assert json.loads(adapter.dump_json(value)) == body
