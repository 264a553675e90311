"""To whom `orc` shows its token: to the servers that were named, and to nobody on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.orc import run_orc

TOKEN = "a-token-of-enough-length"


class Stranger(HTTPServer):
    """Listens where a cluster once was, and keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Ask)
        self.shown: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Ask(BaseHTTPRequestHandler):
    server: Stranger

    def do_GET(self) -> None:
        self.server.shown.append(self.headers["Authorization"])
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as made, _running(made):
        yield made


@contextmanager
def _running(server: HTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


def test_a_server_that_is_named_is_shown_the_token(stranger: Stranger, token_file: Path) -> None:
    env = {"ORC_TOKEN_FILE": str(token_file)}
    assert run_orc("--server", stranger.url, "get", "nodes", env=env).exit_code == 1
    assert run_orc("get", "nodes", env={**env, "ORC_SERVER": stranger.url}).exit_code == 1
    assert stranger.shown == [f"Bearer {TOKEN}"] * 2


def test_who_listens_where_a_local_cluster_was_is_not_shown_the_token(
    stranger: Stranger, token_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps({"servers": [stranger.url]}))
    for server in ({}, {"ORC_SERVER": ","}):
        env = {"ORC_TOKEN_FILE": str(token_file), "ORC_DATA_DIR": str(tmp_path), **server}
        assert run_orc("get", "nodes", env=env).exit_code == 1
    assert stranger.shown == [None, None]


@pytest.mark.parametrize("server", ["http://m1.example:7400", "http://192.0.2.1:7400"])
def test_a_token_does_not_go_over_the_network_in_clear(server: str, token_file: Path) -> None:
    servers = f"https://m0.example:7400,{server}"
    refused = run_orc("--server", servers, "--token-file", str(token_file), "get", "nodes")
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: the token would go to {server} in clear: write https://, or leave out "
        "--token-file and ORC_TOKEN_FILE\n"
    )
