"""The scheduler's proof key: it answers trust handshakes and signs dispatches (protocol spec §14.1, §16.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from cordum.domain.errors import ConfigError

__all__ = ["ProofKey"]

_MAX_BYTES: Final = 16 * 1024
_PRIVATE: Final = "CORDUM_HANDSHAKE_PRIVATE_KEY_FILE"
_PUBLIC: Final = "CORDUM_HANDSHAKE_PUBLIC_KEY_FILE"


@dataclass(frozen=True, slots=True)
class ProofKey:
    """A P-256 key under the id workers pin."""

    key_id: str
    private_key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, key_id: str, private_file: str, public_file: str) -> "ProofKey":
        """Read a pair of PEM files. Raises ConfigError for one that is unreadable or no P-256 key, or no pair."""
        try:
            private = load_pem_private_key(_content(_PRIVATE, private_file), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{_PRIVATE}: expected a P-256 private key in PEM without password") from error
        try:
            public = load_pem_public_key(_content(_PUBLIC, public_file))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{_PUBLIC}: expected a P-256 public key in PEM") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not _is_p256(private):
            raise ConfigError(f"{_PRIVATE}: expected a P-256 private key in PEM without password")
        if not isinstance(public, ec.EllipticCurvePublicKey) or not _is_p256(public):
            raise ConfigError(f"{_PUBLIC}: expected a P-256 public key in PEM")
        if _point(private.public_key()) != _point(public):
            raise ConfigError(f"{_PRIVATE}, {_PUBLIC}: expected two halves of one key")
        return cls(key_id, private)

    @property
    def pkcs8(self) -> bytes:
        """The private key in DER."""
        return self.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _content(variable: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"{variable}: cannot read the file") from error


def _is_p256(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
