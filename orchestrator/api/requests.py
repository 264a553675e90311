"""Reading what a client sends: query, body, preconditions. What does not fit is `ConfigError`."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from orchestrator.api.errors import TooLarge
from orchestrator.api.intents import Precondition
from orchestrator.model.errors import ConfigError, NodeNotFound, StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import is_dns_label
from orchestrator.model.near_names import near_name
from orchestrator.model.workload import WorkloadKey

MAX_BODY_BYTES = 1024 * 1024

T = TypeVar("T")


def adapter(form: Any) -> TypeAdapter[Any]:
    """Made once for each type."""
    return _adapter(form)


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def named_workload(request: web.Request) -> WorkloadKey:
    """The workload of the path, whether there can be one of that name or not."""
    return WorkloadKey(request.match_info["namespace"], request.match_info["name"])


def workload_key(request: web.Request) -> WorkloadKey:
    """The workload of the path. Raises `WorkloadNotFound` for what cannot be one."""
    key = named_workload(request)
    if not all(map(is_dns_label, key)):
        raise WorkloadNotFound(f"there is no workload {str(key)!r}: that is no name for one")
    return key


def node_name(request: web.Request) -> str:
    """The node of the path. Raises `NodeNotFound` for what cannot be one."""
    name = request.match_info["name"]
    if not is_dns_label(name):
        raise NodeNotFound(f"there is no node {name!r}: that is no name for one")
    return name


def instance_name(request: web.Request) -> InstanceName:
    """The instance of the path. Raises `WorkloadNotFound` for what cannot be one."""
    try:
        return InstanceName.parse(request.match_info["name"])
    except StateError as error:
        raise WorkloadNotFound(str(error)) from None


def read_query(form: type[T], request: web.Request) -> T:
    """The query as a `form`, a dataclass of `queries`."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise ConfigError(f"query parameter {name!r} is given twice: give it once")
    try:
        query: T = adapter(form).validate_strings(dict(request.query))
    except ValidationError as invalid:
        raise _unfit("query parameter", form, invalid) from None
    return query


async def read_body(request: web.Request, form: type[T]) -> T:
    """The JSON body as a `form`, a dataclass of `bodies`."""
    try:
        body: T = adapter(form).validate_json(await _bytes(request), strict=True)
    except ValidationError as invalid:
        raise _unfit("field", form, invalid) from None
    return body


async def read_json(request: web.Request) -> Any:
    try:
        return from_json(await _bytes(request), allow_inf_nan=False)
    except ValueError as error:
        raise ConfigError(f"the body is not JSON: {error}") from None


async def _bytes(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(
                f"the body is larger than {MAX_BODY_BYTES} bytes: make it smaller, as by moving "
                "large values into files"
            )
    return bytes(body)


def precondition_of(headers: CIMultiDictProxy[str]) -> Precondition:
    """If-Match takes `*` or mod_revisions, quoted as in ETags or bare; If-None-Match takes `*`."""
    none_match = headers.get(hdrs.IF_NONE_MATCH)
    if none_match is not None and none_match.strip() != "*":
        raise ConfigError(
            "If-None-Match takes only `*`, which means: write it only if it does not exist yet"
        )
    match = headers.get(hdrs.IF_MATCH)
    if match is None:
        return Precondition(must_be_absent=none_match is not None)
    if match.strip() == "*":
        return Precondition(must_exist=True, must_be_absent=none_match is not None)
    allowed = frozenset(_revision(tag.strip()) for tag in match.split(","))
    return Precondition(allowed, must_be_absent=none_match is not None)


def _revision(tag: str) -> int:
    found = re.fullmatch(r'"([0-9]{1,18})"|([0-9]{1,18})', tag, re.ASCII)
    if found is None:
        raise ConfigError(
            f"If-Match {tag[:40]!r} is no mod_revision: write it as in the ETag, like "
            'If-Match: "1234"'
        )
    return int(found[1] or found[2])


def _unfit(what: str, form: Any, invalid: ValidationError) -> ConfigError:
    """The first thing that is wrong, as a sentence."""
    first = invalid.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    known = [field.name for field in fields(form)]
    if first["type"] == "json_invalid":
        return ConfigError(f"the body is not JSON: {first['ctx']['error']}")
    if first["type"] == "unexpected_keyword_argument":
        if len(first["loc"]) > 1:
            return ConfigError(f"unknown {what} {name!r}: leave it out")
        near = near_name(name, known)
        advice = f"did you mean {near!r}?" if near else f"known here: {', '.join(known) or 'none'}"
        return ConfigError(f"unknown {what} {name!r}; {advice}")
    if first["type"] in {"missing", "missing_argument"}:
        return ConfigError(f"{what} {name!r} is missing")
    message = first["msg"][:1].lower() + first["msg"][1:]
    if not name:
        return ConfigError(f"the body does not fit: {message}")
    return ConfigError(f"{what} {name!r} cannot be {_shown(first['input'])}: {message}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
