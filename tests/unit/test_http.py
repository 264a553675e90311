"""The HTTP shell: who is let in, what is measured, and what a failure looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from orchestrator.model.errors import ConfigError
from orchestrator.process.client import client_session
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from tests.support.certificates import Authority
from tests.support.ports import free_port

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER_TOKEN = "another-token-of-enough-length"


def settings_with(**flags: object) -> HttpSettings:
    return load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}", **flags}).settings


def token_file(path: Path, *tokens: str) -> Path:
    path.write_text("\n".join(tokens) + "\n")
    path.chmod(0o600)
    return path


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=request.match_info["word"] + await request.text())


async def fail(_request: web.Request) -> web.Response:
    raise ZeroDivisionError("secret insides")


@asynccontextmanager
async def server(settings: HttpSettings, health: Health | None = None) -> AsyncIterator[str]:
    app = new_app(settings, new_registry("agent"), health or Health())
    app.add_routes([web.post("/echo/{word}", echo), web.get("/fail", fail)])
    async with serving(app, settings):
        yield settings.url


@asynccontextmanager
async def plain_client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_metrics_are_valid_in_both_formats_and_count_by_route() -> None:
    async with server(settings_with()) as url, plain_client() as client:
        for word in ("a", "b"):
            async with client.post(f"{url}/echo/{word}") as answer:
                assert answer.status == 200
        async with client.get(f"{url}/nowhere") as answer:
            assert answer.status == 404
        async with client.get(f"{url}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            families = {family.name: family for family in parse(await answer.text())}
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with client.get(f"{url}/metrics", headers=accept) as answer:
            assert answer.content_type == "application/openmetrics-text"
            parsed = openmetrics.text_string_to_metric_families(await answer.text())  # type: ignore[no-untyped-call]
            assert list(parsed)
    requests = {
        (s.labels["method"], s.labels["route"], s.labels["status"]): s.value
        for s in families["orchestrator_http_requests"].samples
        if s.name.endswith("_total")
    }
    assert requests == {("POST", "/echo/{word}", "200"): 2, ("GET", "unmatched", "404"): 1}
    assert families["orchestrator_build_info"].samples[0].labels["role"] == "agent"
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= set(families)


async def test_only_the_token_opens_and_health_is_open(tmp_path: Path) -> None:
    path = token_file(tmp_path / "token", TOKEN, OTHER_TOKEN)
    async with server(settings_with(token_file=path)) as url, plain_client() as client:
        for header in ("", "Bearer", "Bearer nonsense", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            refused = client.get(f"{url}/metrics", headers={"Authorization": header})
            async with refused as answer:
                assert answer.status == 401
                assert answer.content_type == "application/problem+json"
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert "token" in (await answer.json())["detail"]
        for token in (TOKEN, OTHER_TOKEN):
            welcome = client.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
            async with welcome as answer:
                assert answer.status == 200
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200


async def test_a_changed_token_file_holds_at_once_and_a_broken_one_changes_nothing(
    tmp_path: Path,
) -> None:
    path = token_file(tmp_path / "token", TOKEN)
    settings = settings_with(token_file=path)
    async with server(settings) as url, client_session(settings) as ours, plain_client() as client:
        token_file(path, OTHER_TOKEN)
        async with ours.get(f"{url}/metrics") as answer:
            assert answer.status == 200
        old = {"Authorization": f"Bearer {TOKEN}"}
        async with client.get(f"{url}/metrics", headers=old) as answer:
            assert answer.status == 401
        path.write_text("")
        async with ours.get(f"{url}/metrics") as answer:
            assert answer.status == 200


async def test_no_token_is_sent_where_it_could_be_overheard(tmp_path: Path) -> None:
    settings = settings_with(token_file=token_file(tmp_path / "token", TOKEN))
    async with client_session(settings) as ours:
        with pytest.raises(aiohttp.ClientConnectionError, match="over http to another machine"):
            await ours.get("http://192.0.2.1:7410/metrics")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("", 0o600, "openssl rand"),
        ("short", 0o600, "at least 16"),
        (TOKEN, 0o644, "chmod 600"),
        ("ü" * 20, 0o600, "plain ASCII"),
    ],
)
def test_token_files_that_will_not_do(tmp_path: Path, content: str, mode: int, said: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=said):
        new_app(settings_with(token_file=path), new_registry("agent"), Health())


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "["},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ],
)
async def test_a_web_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    async with server(settings_with()) as url, plain_client() as client:
        async with client.post(f"{url}/echo/a", headers=headers) as answer:
            assert answer.status == 403
            assert answer.content_type == "application/problem+json"
        own = {"Origin": url}
        async with client.post(f"{url}/echo/a", headers=own) as answer:
            assert answer.status == 200


async def test_failures_are_problems_and_show_no_insides() -> None:
    async with server(settings_with()) as url, plain_client() as client:
        async with client.get(f"{url}/fail") as answer:
            assert answer.status == 500
            assert answer.content_type == "application/problem+json"
            assert "insides" not in await answer.text()
        async with client.get(f"{url}/echo/a") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_readiness_names_the_probe_that_fails_and_liveness_does_not_ask_it() -> None:
    async def well() -> None:
        return None

    async def ill() -> str:
        return "etcd does not answer"

    health = Health(live={"loop": well}, ready={"store": ill})
    async with server(settings_with(), health) as url, plain_client() as client:
        async with client.get(f"{url}/readyz") as answer:
            assert answer.status == 503
            probes = (await answer.json())["probes"]
            assert probes == {"loop": "ok", "store": "etcd does not answer"}
        async with client.get(f"{url}/healthz") as answer:
            assert answer.status == 200


async def test_a_probe_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.process.health.PROBE_LIMIT_SECONDS", 0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    health = Health(ready={"store": hang})
    async with (
        server(settings_with(), health) as url,
        plain_client() as client,
        client.get(f"{url}/readyz") as answer,
    ):
        assert answer.status == 503
        assert "no answer within" in await answer.text()


async def test_an_address_in_use_is_named() -> None:
    settings = settings_with()
    async with server(settings):
        with pytest.raises(ConfigError, match=f"{settings.bind} is already in use"):
            async with server(settings):
                pass


async def test_tls_serves_those_who_trust_its_ca(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.issue("server")
    settings = settings_with(
        tls_cert_file=pair.certificate,
        tls_key_file=pair.key,
        tls_ca_file=authority.ca,
        token_file=token_file(tmp_path / "token", TOKEN),
    )
    async with server(settings) as url, client_session(settings) as ours, plain_client() as client:
        assert url.startswith("https://")
        async with ours.get(f"{url}/metrics") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.get(f"{url}/healthz")


async def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    settings = settings_with(tls_cert_file=junk, tls_key_file=junk)
    with pytest.raises(ConfigError, match=r"junk\.pem"):
        async with serving(web.Application(), settings):
            pass
    with pytest.raises(ConfigError, match=r"junk\.pem holds no certificate"):
        async with client_session(settings_with(tls_ca_file=junk)):
            pass
