"""Certificates that are renewed while they are in use."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from orchestrator.process.tls import server_tls
from store.errors import Invalid
from store.etcd.tls import CredentialFiles, Tls
from tests.support.certificates import Authority, KeyPair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serial_in(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


async def shown_by(port: int, *, server_name: str | None) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=server_name or "127.0.0.1"
    )
    tls = writer.get_extra_info("ssl_object")
    serial = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number
    writer.close()
    return serial


@pytest.mark.parametrize("server_name", ["localhost", None])
async def test_new_connections_are_shown_the_renewed_certificate(
    authority: Authority, server_name: str | None
) -> None:
    pair = authority.issue("server")
    first = pair.certificate.read_bytes()
    context = server_tls(pair.certificate, pair.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await shown_by(port, server_name=server_name) == serial_in(first)
        key = pair.key.read_bytes()
        second = authority.issue("server").certificate.read_bytes()
        renewed_key = pair.key.read_bytes()
        pair.key.write_bytes(key)  # half renewed
        assert await shown_by(port, server_name=server_name) == serial_in(first)
        pair.key.write_bytes(renewed_key)
        assert await shown_by(port, server_name=server_name) == serial_in(second)


def test_files_for_etcd_are_read_again_when_they_have_changed(authority: Authority) -> None:
    pair = authority.issue("client")
    files = CredentialFiles(tls_of(authority, pair))
    first = files.read()
    assert files.read() is first
    certificate, key = pair.certificate.read_bytes(), pair.key.read_bytes()
    authority.issue("client")
    renewed = pair.certificate.read_bytes()
    pair.certificate.write_bytes(certificate)  # half renewed
    assert files.read() is first
    pair.certificate.unlink()
    assert files.read() is first
    pair.certificate.write_bytes(renewed)
    assert files.read().certificate == renewed
    assert files.read().key == pair.key.read_bytes() != key


def test_files_that_will_not_do_are_told_of_at_once(authority: Authority) -> None:
    pair = authority.issue("client")
    pair.key.write_text("no key")
    with pytest.raises(Invalid, match="are not a PEM"):
        CredentialFiles(tls_of(authority, pair))


def tls_of(authority: Authority, pair: KeyPair) -> Tls:
    return Tls(authority.ca, pair.certificate, pair.key)
