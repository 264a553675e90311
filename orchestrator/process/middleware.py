"""What every request passes through: measured, let in, and answered with problem+json if it fails.

Health is open to all, so that load balancers can ask; all else needs the bearer token where there
is a token file. Without one only loopback is served (see `HttpSettings`), and that is a fence
against other machines only: every user of this machine, and every workload that shares its
network, can then ask for anything. Where that is not wanted, give a token file on loopback too.

Web pages in a browser on this machine are kept out all the same: without a token, a request whose
Host is not this server's name, or that carries another site's Origin, is refused.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.model.errors import OrchestrationError
from orchestrator.process.metrics import HttpMetrics
from orchestrator.process.problems import domain_problem, plain_problem, problem_response
from orchestrator.process.settings import HttpSettings
from orchestrator.process.tokens import TokenFile

OPEN_ROUTES = frozenset({"/healthz", "/readyz"})

log = structlog.get_logger()


def measuring(metrics: HttpMetrics) -> Middleware:
    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "unmatched"
        method = request.method if request.method in hdrs.METH_ALL else "other"
        started = time.perf_counter()
        response = await handler(request)
        metrics.requests.labels(method, route, str(response.status)).inc()
        if isinstance(response, web.Response):
            metrics.seconds.labels(method, route).observe(time.perf_counter() - started)
        return response

    return measure


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What no handler has turned into an answer."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        detail = f"{request.method} {request.path}: {refusal.reason}"
        answer = plain_problem(refusal.status, refusal.reason, detail)
        if hdrs.ALLOW in refusal.headers:
            answer.headers[hdrs.ALLOW] = refusal.headers[hdrs.ALLOW]
        return answer
    except OrchestrationError as error:
        return problem_response(domain_problem(error))
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception:  # the top of a request: a bug of ours must not show its insides
        log.exception("request failed", method=request.method, path=request.path)
        return plain_problem(500, "Internal error", "this is a bug of the server: see its log")


def guarding(settings: HttpSettings) -> Middleware:
    tokens = TokenFile(settings.token_file) if settings.token_file else None
    names = {"localhost", "127.0.0.1", "::1", settings.bind.host, urlsplit(settings.url).hostname}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN_ROUTES:
            return await handler(request)
        if tokens:
            kind, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
            if kind.lower() != "bearer" or not tokens.lets_in(token.strip()):
                return _unauthorized()
        elif not _comes_from_here(request, names):
            return plain_problem(
                403, "Forbidden", "without a token, only this machine's own clients are served"
            )
        return await handler(request)

    return guard


def _unauthorized() -> web.Response:
    answer = plain_problem(
        401, "Unauthorized", "send a token of this server's token file: Authorization: Bearer ..."
    )
    answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return answer


def _comes_from_here(request: web.Request, names: set[str | None]) -> bool:
    origin = request.headers.get(hdrs.ORIGIN)
    try:
        is_own_page = origin is None or urlsplit(origin).netloc == request.host
        return is_own_page and urlsplit(f"//{request.host}").hostname in names
    except ValueError:
        return False
