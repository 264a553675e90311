"""What the commands share: how to reach the cluster, and the loop that they run in."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.discovery import find_servers
from orchestrator.cli.errors import ServerUnreachable
from orchestrator.model.errors import ConfigError

if TYPE_CHECKING:  # both are slow to import, and `orc --help` needs neither
    import ssl

    from orchestrator.cli.client import ApiClient

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """How to reach the cluster, as the flags and the environment say."""

    servers: tuple[str, ...] = ()
    token_file: Path | None = None
    ca_file: Path | None = None
    data_dir: Path | None = None

    def run(self, work: Callable[[ApiClient], Coroutine[None, None, T]]) -> T:
        """Carry out `work` with a client of the cluster, which is looked up now."""
        import asyncio

        return asyncio.run(self._run(work))

    async def _run(self, work: Callable[[ApiClient], Coroutine[None, None, T]]) -> T:
        from orchestrator.cli.client import ApiClient

        servers = find_servers(self.servers, self.data_dir, os.environ)
        token = read_token(self.token_file) if self.token_file else ""
        tls = trust_in(self.ca_file) if self.ca_file else None
        async with ApiClient(servers, token=token, tls=tls) as client:
            try:
                return await work(client)
            except ServerUnreachable as error:
                raise error if self.servers else _not_running(error) from None


def _not_running(error: ServerUnreachable) -> ServerUnreachable:
    advice = "this is the local cluster: if it does not run any more, start it again with `orc up`"
    return ServerUnreachable(f"{error}\n{advice}")


def read_token(path: Path) -> str:
    """The first token in the file, as the servers themselves use it. Raises `ConfigError`."""
    try:
        tokens = path.read_bytes().split()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {path}: {error.strerror}") from None
    if not tokens or not tokens[0].isascii():
        raise ConfigError(f"the token file {path} must hold a token in plain ASCII")
    return tokens[0].decode()


def trust_in(path: Path) -> ssl.SSLContext:
    """Trust servers whose certificates the authorities in `path` have signed, and no others."""
    import ssl

    try:
        return ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        raise ConfigError(f"the CA file {path} holds no certificate in PEM form") from None
    except OSError as error:
        raise ConfigError(f"cannot read the CA file {path}: {error.strerror}") from None
