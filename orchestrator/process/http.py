"""The HTTP shell of controllers and agents.

`new_app` builds an application with `/metrics`, `/healthz` and `/readyz`; its owner adds routes;
`serving` listens. What each request passes through is in `middleware`.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from orchestrator.model.errors import ConfigError
from orchestrator.process.health import Health
from orchestrator.process.metrics import HttpMetrics
from orchestrator.process.middleware import guarding, measuring, problems
from orchestrator.process.settings import HttpSettings
from orchestrator.process.tls import server_tls

DRAIN_SECONDS = 1.0


def new_app(settings: HttpSettings, registry: CollectorRegistry, health: Health) -> web.Application:
    """Raises `ConfigError` if the token file will not do."""
    app = web.Application(
        middlewares=[measuring(HttpMetrics(registry)), problems, guarding(settings)]
    )

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(registry), headers={hdrs.CONTENT_TYPE: content_type})

    app.add_routes([web.get("/metrics", metrics), *health.routes()])
    return app


@asynccontextmanager
async def serving(app: web.Application, settings: HttpSettings) -> AsyncIterator[None]:
    """Listen for as long as the body runs; then give open requests `DRAIN_SECONDS` to end.

    Raises `ConfigError` when the address cannot be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        tls = server_tls(cert, settings.tls_key_file) if (cert := settings.tls_cert_file) else None
        site = web.TCPSite(runner, settings.bind.host, settings.bind.port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(_why_not_listening(error, settings)) from None
        yield
    finally:
        await runner.cleanup()


def _why_not_listening(error: OSError, settings: HttpSettings) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{settings.bind} is already in use: stop what listens there, or give another --bind"
    if error.errno == errno.EACCES:
        return f"{settings.bind} needs root: give a --bind with a port above 1023"
    return f"cannot listen on {settings.bind}: {error.strerror or error}; give another --bind"
