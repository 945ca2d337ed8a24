"""Connections to PostgreSQL by TLS: what sslmode, certificates and names mean, with real certificates.

The server of the tests cannot encrypt, so a proxy in front of it does, as a hosted database would.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from feedzone.errors import StorageUnavailable
from feedzone.store.engine.postgres import PostgresDatabase
from tcp_proxy import Proxy

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
ONE = text("SELECT 1")


class Authority:
    """A certificate authority: its certificate is `<name>.crt`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._store(name, self._name, self._key, is_authority=True)

    def certificate(self, name: str) -> Path:
        """Issue a certificate for 127.0.0.1, with its key beside it (`.key`)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._store(name, subject, key, is_authority=False)

    def _store(self, name: str, subject: x509.Name, key: Any, *, is_authority: bool) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        issued = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=9))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(host, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        file = self._folder / f"{name}.crt"
        file.write_bytes(issued.public_bytes(serialization.Encoding.PEM))
        secret = file.with_suffix(".key")
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        secret.write_bytes(pem)
        secret.chmod(0o600)
        return file


class EncryptingProxy(Proxy):
    """A proxy that begins TLS when the client asks for it. Counts encrypted connections."""

    def __init__(self, server_url: str, context: ssl.SSLContext) -> None:
        super().__init__(server_url)
        self._context = context
        self.encrypted = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked = await reader.readexactly(len(SSL_REQUEST))
            if asked == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                self.encrypted += 1
                await super().accept(reader, writer)
        writer.close()  # a client that does not ask for TLS is refused


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("tls")
    return Authority(folder, "ours"), Authority(folder, "foreign")


@contextlib.asynccontextmanager
async def server(url: str, certificate: Path, clients: Path | None = None) -> AsyncIterator[EncryptingProxy]:
    """Run the server; with `clients` it takes only clients whose certificates this authority has issued."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    proxy = EncryptingProxy(url, context)
    listening = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    yield proxy
    listening.close()
    for writer in proxy._writers:
        writer.close()


async def answer(url: str) -> Any:
    database = PostgresDatabase(url)
    try:
        return await database.read(lambda c: c.execute(ONE).scalar())
    finally:
        await database.close()


async def refusal(url: str) -> str:
    with pytest.raises(StorageUnavailable) as refused:
        await answer(url)
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_require_encrypts_and_verify_full_checks_authority_and_name(migrated_postgres, authorities):
    ours, foreign = authorities
    async with server(migrated_postgres, ours.certificate("server")) as proxy:
        for mode in ("sslmode=require", "ssl=true", f"sslmode=verify-full&sslrootcert={ours.file}"):
            assert await answer(f"{proxy.url}?{mode}") == 1
        assert proxy.encrypted == 3
        by_name = proxy.url.replace("127.0.0.1", "localhost")
        assert await answer(f"{by_name}?sslmode=verify-ca&sslrootcert={ours.file}") == 1
        wrong_name = await refusal(f"{by_name}?sslmode=verify-full&sslrootcert={ours.file}")
        wrong_authority = await refusal(f"{proxy.url}?sslmode=verify-full&sslrootcert={foreign.file}")
    for text_of in (wrong_name, wrong_authority):
        assert "certificate verify failed" in text_of
        assert "see sslmode and sslrootcert in docs/operating.md" in text_of


async def test_a_client_certificate_is_sent_and_its_absence_is_one_line(migrated_postgres, authorities):
    ours, foreign = authorities
    client, other = ours.certificate("client"), foreign.certificate("other")
    async with server(migrated_postgres, ours.certificate("server"), clients=ours.file) as proxy:
        url = f"{proxy.url}?sslmode=verify-full&sslrootcert={ours.file}"
        own = f"sslcert={client}&sslkey={client.with_suffix('.key')}"
        assert await answer(f"{url}&{own}") == 1
        await refusal(url)
        await refusal(f"{url}&sslcert={other}&sslkey={other.with_suffix('.key')}")
