"""The agent's HTTP route by which a leader asks what this node finds at another one's address."""

from __future__ import annotations

from aiohttp import web

from orchestrator.process.witness import bear_witness


def witness_routes() -> list[web.RouteDef]:
    """`POST /v1/witness?address=`: `{"statement": "refused"}`, or another `Statement`."""

    async def witness(request: web.Request) -> web.Response:
        statement = await bear_witness(request.query.get("address", ""))
        return web.json_response({"statement": statement})

    return [web.post("/v1/witness", witness)]
