"""The TLS of our own HTTP: what a server shows, and whom a client trusts."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

from orchestrator.model.errors import ConfigError
from orchestrator.process.stamp import Stamp


def server_tls(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    """Whoever connects after the files have been renewed is shown the new certificate; while they
    are half renewed, the one before. Raises `ConfigError` for files that are no certificate with
    its key."""
    listening = current = _server_context(cert_file, key_file)
    shown = Stamp.of(cert_file)

    def choose(connection: ssl.SSLObject, _name: str, _listening: ssl.SSLContext) -> None:
        nonlocal current, shown
        if (stamp := Stamp.of(cert_file)) != shown:
            with suppress(ConfigError):
                current, shown = _server_context(cert_file, key_file), stamp
        connection.context = current

    listening.sni_callback = choose  # asked for each connection, whether it names a server or not
    return listening


def _server_context(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"{cert_file} and {key_file} are no certificate with its key: {error}"
        ) from None
    return context


def client_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Trust servers whose certificates the authorities in `ca_file` have signed, and no others;
    without a file, those that this machine trusts. Raises `ConfigError`."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise ConfigError(f"the CA file {ca_file} holds no certificate in PEM form") from None
    except OSError as error:
        raise ConfigError(f"cannot read the CA file {ca_file}: {error.strerror}") from None
