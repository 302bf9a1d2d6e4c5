"""TLS towards NATS: encrypted connections, and mistakes that stop the start."""

import ssl
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cordum.bus import Bus
from cordum.bus.tls import make_tls_context
from cordum.config.nats import NatsSettings
from cordum.domain.errors import ConfigError, Unavailable
from cordum.runtime.clock import utc_now
from tests.support.nats_server import NatsServer
from tests.support.processes import free_port

PEM = serialization.Encoding.PEM


class Identity(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """Write both as PEM files and return their paths."""
        paths = (folder / f"{name}.pem", folder / f"{name}.key")
        paths[0].write_bytes(self.certificate.public_bytes(PEM))
        paths[1].write_bytes(
            self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return str(paths[0]), str(paths[1])


def make_identity(common_name: str, issuer: Identity | None = None) -> Identity:
    """Issue a certificate; without an issuer it is a CA of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    issuer_key = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(minutes=5))
        .not_valid_after(utc_now() + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    return Identity(builder.sign(issuer_key, hashes.SHA256()), key)


async def test_a_server_that_demands_client_certificates_is_reached_only_with_one(tmp_path: Path) -> None:
    authority = make_identity("ca")
    ca, _ = authority.write(tmp_path, "ca")
    server_cert, server_key = make_identity("server", authority).write(tmp_path, "server")
    client_cert, client_key = make_identity("client", authority).write(tmp_path, "client")
    tls = f'tls {{ cert_file: "{server_cert}", key_file: "{server_key}", ca_file: "{ca}", verify: true }}'
    server = NatsServer(free_port(), tmp_path / "nats", extra=tls)
    server.start()
    url = (f"tls://localhost:{server.port}",)
    try:
        with pytest.raises(Unavailable):
            await Bus.open(NatsSettings(urls=url, tls_ca=ca), "test", deadline_s=1)
        settings = NatsSettings(urls=url, tls_ca=ca, tls_cert=client_cert, tls_key=client_key)
        bus = await Bus.open(settings, "test")
        await bus.ping()
        await bus.close()
    finally:
        server.stop()


def test_a_client_certificate_of_another_ca_is_refused_naming_both(tmp_path: Path) -> None:
    ca, _ = make_identity("our ca").write(tmp_path, "ca")
    cert, key = make_identity("client", make_identity("foreign ca")).write(tmp_path, "client")
    settings = NatsSettings(urls=("tls://nats:4222",), tls_ca=ca, tls_cert=cert, tls_key=key)

    with pytest.raises(ConfigError, match=r"`CN=client` valid .* CA `CN=our ca`"):
        make_tls_context(settings)


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_unusable_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    settings = NatsSettings(urls=("tls://nats:4222",), tls_ca=str(tmp_path / "ca.pem"))

    with pytest.raises(ConfigError, match="NATS_TLS_CA"):
        make_tls_context(settings)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    authority = make_identity("ca")
    ca, _ = authority.write(tmp_path, "ca")
    cert, _ = make_identity("one", authority).write(tmp_path, "one")
    _, key = make_identity("two", authority).write(tmp_path, "two")
    settings = NatsSettings(urls=("tls://nats:4222",), tls_ca=ca, tls_cert=cert, tls_key=key)

    with pytest.raises(ConfigError, match="NATS_TLS_KEY"):
        make_tls_context(settings)


def test_production_speaks_at_least_tls_1_3(tmp_path: Path) -> None:
    ca, _ = make_identity("ca").write(tmp_path, "ca")
    settings = NatsSettings(urls=("tls://nats:4222",), tls_ca=ca, env="production")

    assert make_tls_context(settings).minimum_version is ssl.TLSVersion.TLSv1_3
