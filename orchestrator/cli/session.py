"""What the commands share: how to reach the cluster, and the loop that they run in."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.discovery import find_servers
from orchestrator.cli.errors import ServerUnreachable

if TYPE_CHECKING:  # slow to import, and `orc --help` does without
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
        from orchestrator.process.tls import client_tls
        from orchestrator.process.tokens import read_tokens

        servers = find_servers(self.servers, self.data_dir, os.environ)
        token = read_tokens(self.token_file)[0] if self.token_file else ""
        tls = client_tls(self.ca_file) if self.ca_file else None
        async with ApiClient(servers, token=token, tls=tls) as client:
            try:
                return await work(client)
            except ServerUnreachable as error:
                raise error if self.servers else _not_running(error) from None


def _not_running(error: ServerUnreachable) -> ServerUnreachable:
    advice = "this is the local cluster: if it does not run any more, start it again with `orc up`"
    return ServerUnreachable(f"{error}\n{advice}")
