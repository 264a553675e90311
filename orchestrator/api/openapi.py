"""The OpenAPI document, generated from the endpoints and the types that they speak in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import TypeAdapter

from orchestrator.api.endpoint import Endpoint
from orchestrator.api.queries import WriteQuery
from orchestrator.api.requests import adapter
from orchestrator.api.responses import NDJSON
from orchestrator.process.channels import Channel
from orchestrator.process.problems import PROBLEM_JSON, ProblemDetails

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]

_REFERENCE = "#/components/schemas/{model}"
_REVISION_TAG = '("[0-9]{1,18}"|[0-9]{1,18})'
_PRECONDITIONS: dict[str, Schema] = {
    "If-Match": {
        "description": "mod_revisions as in the ETag, or `*`: any",
        "schema": {
            "type": "string",
            "pattern": rf"^(\*|{_REVISION_TAG}( *, *{_REVISION_TAG})*)$",
        },
    },
    "If-None-Match": {
        "description": "only `*`: write it only if it does not exist yet",
        "schema": {"type": "string", "enum": ["*"]},
    },
}

_SOCKET = (
    "A WebSocket (RFC 6455) of binary frames, whose first byte is a channel: "
    + ", ".join(f"{channel.value} {channel.name}" for channel in Channel)
    + '. RESIZE has {"rows": 24, "columns": 80}. The server ends with END, and without it the'
    " connection was broken."
)


def document(endpoints: Iterable[Endpoint[Any]]) -> Schema:
    """OpenAPI 3.1, whose schemas are JSON Schema as pydantic writes it."""
    endpoints = list(endpoints)
    schemas, components = _schemas(endpoints)
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "orchestrator", "version": "1"},
        "paths": paths,
        "components": {"schemas": components},
    }


Schemas = Mapping[tuple[Any, Mode], Schema]


def _schemas(endpoints: list[Endpoint[Any]]) -> tuple[Schemas, Schema]:
    """A reference for each type, and the definitions that they refer to."""
    wanted: dict[tuple[Any, Mode], TypeAdapter[Any]] = {
        (ProblemDetails, "serialization"): adapter(ProblemDetails)
    }
    for endpoint in endpoints:
        wanted[endpoint.answer, "serialization"] = adapter(endpoint.answer)
        if endpoint.body:
            wanted[endpoint.body, "validation"] = adapter(endpoint.body)
    schemas, definitions = TypeAdapter.json_schemas(
        [(form, mode, known) for (form, mode), known in wanted.items()], ref_template=_REFERENCE
    )
    return schemas, definitions["$defs"]


def _operation(endpoint: Endpoint[Any], schemas: Schemas) -> Schema:
    answer = schemas[endpoint.answer, "serialization"]
    kind = NDJSON if endpoint.is_stream else "application/json"
    success = {"description": "done", "content": {kind: {"schema": answer}}}
    problem = {PROBLEM_JSON: {"schema": schemas[ProblemDetails, "serialization"]}}
    responses: Schema = {"101" if endpoint.is_socket else "200": success}
    if endpoint.is_socket:
        success["description"] = f"{_SOCKET} In the last frame, after its channel:"
    if endpoint.may_create:
        responses["201"] = {**success, "description": "created"}
    responses["default"] = {"description": "what went wrong", "content": problem}
    operation: Schema = {
        "operationId": endpoint.handle.__name__,
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint)],
        "responses": responses,
    }
    if issubclass(endpoint.query, WriteQuery):
        operation["parameters"] += [
            {"name": name, "in": "header", "required": False, **said}
            for name, said in _PRECONDITIONS.items()
        ]
    if endpoint.body:
        body = schemas[endpoint.body, "validation"]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
        if endpoint.is_socket:
            operation["requestBody"]["description"] = "the first frame, as text"
    return operation


def _path_parameters(endpoint: Endpoint[Any]) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]


def _query_parameters(endpoint: Endpoint[Any]) -> list[Schema]:
    form = adapter(endpoint.query).json_schema()
    definitions = form.get("$defs", {})
    required = form.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.pop("description", ""),
            "schema": _inlined(schema, definitions),
        }
        for name, schema in form.get("properties", {}).items()
    ]


def _inlined(schema: Schema, definitions: Schema) -> Schema:
    """Of enumerations, which queries refer to by name."""
    reference = schema.get("$ref", "").rpartition("/")[2]
    return definitions[reference] if reference else schema
