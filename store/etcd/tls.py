"""TLS towards etcd: which certificates; read and checked, and again once they have changed."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from store.errors import Invalid


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files. `ca` signs etcd's certificates; `certificate` and `key` are ours.

    etcd with `--client-cert-auth` takes the common name of our certificate as the user name.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the files held."""

    ca: bytes
    certificate: bytes | None
    key: bytes | None


class CredentialFiles:
    """Raises `Invalid` at once if the files will not do; later, what they last held is kept."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._stamps = _stamps(tls)
        self._current = load(tls)

    def read(self) -> Credentials:
        """The same object for as long as the files are the same, or half renewed."""
        stamps = _stamps(self._tls)  # before reading: a change in between is seen next time
        if stamps != self._stamps:
            with suppress(Invalid):
                self._current = load(self._tls)
                self._stamps = stamps
        return self._current


def load(tls: Tls) -> Credentials:
    """Read and check the files; raises `Invalid`, naming the file that is at fault."""
    if (tls.certificate is None) != (tls.key is None):
        raise Invalid("a TLS client certificate and its key must be given together")
    credentials = Credentials(
        _read("CA", tls.ca),
        _read("certificate", tls.certificate) if tls.certificate else None,
        _read("key", tls.key) if tls.key else None,
    )
    _check(tls)
    return credentials


def _stamps(tls: Tls) -> tuple[tuple[int, int] | None, ...]:
    """What changes when the files do."""
    paths = (tls.ca, tls.certificate, tls.key)
    return tuple(_stamp(path) if path else None for path in paths)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read the TLS {what} file {path}: {error.strerror}") from error


def _check(tls: Tls) -> None:
    """grpc would find a bad file only while connecting, and say so in the words of its C code."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        raise Invalid(f"the TLS CA file {tls.ca} holds no PEM certificate") from error
    if tls.certificate and tls.key:
        try:
            context.load_cert_chain(tls.certificate, tls.key, password="")
        except ssl.SSLError as error:
            raise Invalid(
                f"the TLS certificate {tls.certificate} and key {tls.key} are not a PEM"
                " certificate with its unencrypted private key"
            ) from error
