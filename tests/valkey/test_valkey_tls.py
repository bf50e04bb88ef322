"""Entering a server through TLS; a door with a certificate stands in front of the real server."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.valkey.images import Raw, ask, store_at, words
from tests.valkey.proxy import proxy_to
from tests.valkey.servers import Server

from doorbuster.engine.ports import StoreUnavailable, TakeWord


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "valkey")])
    # Fixed dates: a test has no clock of its own.
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2120, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "valkey.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def test_unknown_certificate_is_refused(server: Server, raw: Raw, certificate: Path) -> None:
    async with (
        proxy_to(f"{server.folder}/socket", server_side(certificate)) as door,
        store_at(f"rediss://127.0.0.1:{door.port}") as store,
    ):
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await words(store, ask(1))


@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl_ca_certs={path}"])
async def test_known_certificate_lets_in(server: Server, raw: Raw, certificate: Path, query: str) -> None:
    async with (
        proxy_to(f"{server.folder}/socket", server_side(certificate)) as door,
        store_at(f"rediss://127.0.0.1:{door.port}?{query.format(path=certificate)}") as store,
    ):
        assert await words(store, ask(1)) == [TakeWord.NO_IMAGE]
