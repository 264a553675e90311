"""Bearer tokens in a file: one a line, all let in, the first one our own.

Two lines make a change of token possible without a gap. The file is read again when it changes.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from orchestrator.model.errors import ConfigError

MIN_TOKEN_LENGTH = 16


class TokenFile:
    """Raises `ConfigError` at once if the file will not do; later, it keeps what it last had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._tokens: tuple[bytes, ...] = ()
        self._read()

    @property
    def own(self) -> str:
        self._refresh()
        return self._tokens[0].decode()

    def lets_in(self, token: str) -> bool:
        """Compared in constant time with each token."""
        self._refresh()
        offered = token.encode("utf-8", "surrogateescape")
        return any(hmac.compare_digest(offered, known) for known in self._tokens)

    def _refresh(self) -> None:
        try:
            if self._stamp_now() != self._stamp:
                self._read()
        except (ConfigError, OSError):
            return

    def _read(self) -> None:
        try:
            stamp = self._stamp_now()
            if self._path.stat().st_mode & 0o007:
                raise ConfigError(f"everybody can read {self._path}: run chmod 600 on it")
            tokens = tuple(self._path.read_bytes().split())
        except OSError as error:
            raise ConfigError(f"token file {self._path}: {error.strerror}") from None
        if not tokens or any(len(token) < MIN_TOKEN_LENGTH for token in tokens):
            raise ConfigError(
                f"{self._path} must hold tokens of at least {MIN_TOKEN_LENGTH} characters, "
                "one a line: make one with `openssl rand -hex 32`"
            )
        if not all(token.isascii() for token in tokens):
            raise ConfigError(
                f"{self._path} must hold plain ASCII, as `openssl rand -hex 32` makes"
            )
        self._tokens, self._stamp = tokens, stamp

    def _stamp_now(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_ino
