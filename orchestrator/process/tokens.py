"""Bearer tokens in a file: one a line, all let in, the first one our own.

Two lines make a change of token possible without a gap. The file is read again when it changes.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from pathlib import Path

from orchestrator.model.errors import ConfigError
from orchestrator.process.stamp import Stamp

MIN_TOKEN_LENGTH = 16


def read_tokens(path: Path) -> tuple[str, ...]:
    """All tokens in a file, at least one. Raises `ConfigError`."""
    try:
        tokens = path.read_bytes().split()
    except OSError as error:
        raise ConfigError(f"cannot read the token file {path}: {error.strerror}") from None
    if not tokens or not all(token.isascii() for token in tokens):
        raise ConfigError(
            f"the token file {path} must hold a token in plain ASCII: make one with"
            " `openssl rand -hex 32`"
        )
    return tuple(token.decode() for token in tokens)


class TokenFile:
    """Raises `ConfigError` at once if the file will not do; later, it keeps what it last had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp | None = None
        self._tokens: tuple[str, ...] = ()
        self._read()

    @property
    def own(self) -> str:
        self._refresh()
        return self._tokens[0]

    def lets_in(self, token: str) -> bool:
        """Compared in constant time with each token."""
        self._refresh()
        offered = token.encode("utf-8", "surrogateescape")
        return any(hmac.compare_digest(offered, known.encode()) for known in self._tokens)

    def _refresh(self) -> None:
        if Stamp.of(self._path) != self._stamp:
            with suppress(ConfigError):
                self._read()

    def _read(self) -> None:
        stamp = Stamp.of(self._path)
        tokens = read_tokens(self._path)
        if stamp and stamp.mode & 0o007:
            raise ConfigError(f"everybody can read {self._path}: run chmod 600 on it")
        if any(len(token) < MIN_TOKEN_LENGTH for token in tokens):
            raise ConfigError(
                f"{self._path} must hold tokens of at least {MIN_TOKEN_LENGTH} characters, "
                "one a line: make one with `openssl rand -hex 32`"
            )
        self._tokens, self._stamp = tokens, stamp
