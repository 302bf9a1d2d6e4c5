"""TLS towards NATS, and the check that the client certificate belongs to the CA (protocol spec §6)."""

import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from cordum.config.nats import NatsSettings
from cordum.domain.errors import ConfigError

__all__ = ["check_chain", "make_tls_context"]

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_tls_context(settings: NatsSettings) -> ssl.SSLContext:
    """Build the client context; raise ConfigError naming the file that is unusable."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"NATS_TLS_CA: expected a readable PEM file, got `{settings.tls_ca}`") from error
    context.minimum_version = _VERSIONS[settings.min_tls]
    if settings.tls_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.tls_cert:
        if settings.tls_ca:
            check_chain(settings.tls_cert, settings.tls_ca)
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"NATS_TLS_CERT, NATS_TLS_KEY: expected a matching PEM pair, got `{settings.tls_cert}`"
            ) from error
    return context


def check_chain(certificate_path: str, ca_path: str) -> None:
    """Raise ConfigError unless the certificate file chains to a certificate of the CA file.

    The file may carry intermediates after the leaf.
    """
    chain = _read(certificate_path, "NATS_TLS_CERT")
    roots = _read(ca_path, "NATS_TLS_CA")
    current = chain[0]
    for candidate in chain[1:]:
        if _issued(current, candidate):
            current = candidate
    if not any(_issued(current, root) or current == root for root in roots):
        raise ConfigError(
            f"NATS_TLS_CERT does not chain to NATS_TLS_CA: "
            f"certificate {_describe(chain[0])}, CA {_describe(roots[0])}",
            hint="issue the client certificate with this CA, or point NATS_TLS_CA to the CA that issued it",
        )


def _read(path: str, variable: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{variable}: expected a readable PEM certificate, got `{path}`") from error


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _describe(certificate: x509.Certificate) -> str:
    return (
        f"`{certificate.subject.rfc4514_string()}` valid {certificate.not_valid_before_utc:%Y-%m-%d}"
        f" to {certificate.not_valid_after_utc:%Y-%m-%d}"
    )
