"""The write handlers: what the client wants, handed to the `DesiredWriter`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from orchestrator.api.bodies import NodePatch, ScaleRequest
from orchestrator.api.context import Api
from orchestrator.api.queries import WriteQuery
from orchestrator.api.requests import (
    named_workload,
    node_name,
    precondition_of,
    read_body,
    read_json,
    workload_key,
)
from orchestrator.api.responses import written_answer
from orchestrator.api.writer import Terms
from orchestrator.model.errors import ConfigError
from orchestrator.model.manifest import definition_from_json
from orchestrator.model.workload import WorkloadKey


async def apply_workload(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    terms = _terms(request, query)
    manifest = _named(await read_json(request), named_workload(request))
    written = await api.writer.apply(definition_from_json(manifest), terms)
    return written_answer(written, is_dry_run=query.dry_run)


async def scale_workload(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    terms = _terms(request, query)
    body = await read_body(request, ScaleRequest)
    written = await api.writer.scale(workload_key(request), body.replicas, terms)
    return written_answer(written, is_dry_run=query.dry_run)


async def delete_workload(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    written = await api.writer.delete(workload_key(request), _terms(request, query))
    return written_answer(written, is_dry_run=query.dry_run)


async def change_node(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    terms = _terms(request, query)
    patch = await read_body(request, NodePatch)
    written = await api.writer.change_node(node_name(request), patch, terms)
    return written_answer(written, is_dry_run=query.dry_run)


async def remove_node(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    written = await api.writer.remove_node(node_name(request), _terms(request, query))
    return written_answer(written, is_dry_run=query.dry_run)


def _terms(request: web.Request, query: WriteQuery) -> Terms:
    return Terms(precondition_of(request.headers), query.dry_run)


def _named(manifest: Any, key: WorkloadKey) -> Any:
    """The manifest with the path's name and namespace where it has none of its own."""
    if not isinstance(manifest, dict):
        return manifest
    for field, wanted in key._asdict().items():
        given = manifest.get(field)
        if given not in (None, wanted):
            raise ConfigError(
                f"the path says {field} {wanted!r}, but the manifest {given!r}: make them the same"
            )
    return {**manifest, **key._asdict()}
