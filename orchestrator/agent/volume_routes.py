"""The agent's HTTP routes for volumes: which there are, and to delete one with its data."""

from __future__ import annotations

from aiohttp import web

from orchestrator.agent.volume_rows import VolumeRows
from orchestrator.model.errors import StateError, WorkloadNotFound
from orchestrator.model.volume import VolumeName
from orchestrator.runtime.volumes.node_volumes import LocalVolume


def volume_routes(rows: VolumeRows) -> list[web.RouteDef]:
    """`GET /v1/volumes?sizes=true`: `{"items": [{"name", "used_by", "size_bytes"}]}`, a size only
    when it is asked for, for that reads the whole volume. `DELETE /v1/volumes/{name}`: 204."""

    async def list_volumes(request: web.Request) -> web.Response:
        with_sizes = request.query.get("sizes", "") in {"true", "1"}
        items = [_shown(each) for each in await rows.list(with_sizes=with_sizes)]
        return web.json_response({"items": items})

    async def remove_volume(request: web.Request) -> web.Response:
        await rows.remove(_name(request.match_info["name"]))
        return web.Response(status=204)

    return [
        web.get("/v1/volumes", list_volumes),
        web.delete("/v1/volumes/{name}", remove_volume),
    ]


def _shown(volume: LocalVolume) -> dict[str, object]:
    return {
        "name": str(volume.name),
        "used_by": volume.used_by,
        "size_bytes": volume.size_bytes,
    }


def _name(text: str) -> VolumeName:
    try:
        return VolumeName.parse(text)
    except StateError as error:
        raise WorkloadNotFound(str(error)) from None
