"""What the commands share: how to reach the cluster, and the loop that they run in."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.discovery import find_servers, parse_servers
from orchestrator.cli.errors import Misuse, ServerUnreachable

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

        named = parse_servers(self.servers)
        servers = find_servers(named, self.data_dir, os.environ)
        token = self._token_for(named)
        tls = client_tls(self.ca_file) if self.ca_file else None
        async with ApiClient(servers, token=token, tls=tls) as client:
            try:
                return await work(client)
            except ServerUnreachable as error:
                raise error if named else _not_running(error) from None

    def _token_for(self, named: Sequence[str]) -> str:
        """Only for servers that were named: where a local cluster was, anybody may listen now.

        Raises `Misuse` if it could be overheard.
        """
        if not (named and self.token_file):
            return ""
        from orchestrator.process.address import may_carry_a_token
        from orchestrator.process.tokens import read_tokens

        if overheard := [each for each in named if not may_carry_a_token(each)]:
            raise Misuse(
                f"the token would go to {overheard[0]} in clear: write https://, or leave out "
                "--token-file and ORC_TOKEN_FILE"
            )
        return read_tokens(self.token_file)[0]


def _not_running(error: ServerUnreachable) -> ServerUnreachable:
    advice = "this is the local cluster: if it does not run any more, start it again with `orc up`"
    return ServerUnreachable(f"{error}\n{advice}")
