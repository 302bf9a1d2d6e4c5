"""The scheduler's key pair as it is read from files (protocol spec §14.1)."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cordum.domain.errors import ConfigError
from cordum.security.policy_signatures import generate_key
from cordum.security.proof_key import ProofKey


def files(folder: Path, private: bytes, public: bytes) -> tuple[str, str]:
    (folder / "private.pem").write_bytes(private)
    (folder / "public.pem").write_bytes(public)
    return str(folder / "private.pem"), str(folder / "public.pem")


def test_a_pair_made_by_the_command_line_is_read(tmp_path: Path) -> None:
    key = ProofKey.read("scheduler-v1", *files(tmp_path, *generate_key("ecdsa-p256-sha256")))
    assert key.key_id == "scheduler-v1"
    assert key.pkcs8.startswith(b"0")


def other_public() -> bytes:
    return generate_key("ecdsa-p256-sha256")[1]


def locked() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def in_der() -> tuple[bytes, bytes]:
    _, public = generate_key("ecdsa-p256-sha256")
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), public


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((generate_key("ecdsa-p256-sha256")[0], other_public()), "two halves of one key"),
        (generate_key("ecdsa-p384-sha384"), "P-256 private key"),
        (generate_key("ed25519"), "P-256 private key"),
        ((generate_key("ecdsa-p256-sha256")[0], generate_key("ed25519")[1]), "P-256 public key"),
        ((b"no key", other_public()), "P-256 private key"),
        ((generate_key("ecdsa-p256-sha256")[0], b"no key"), "P-256 public key"),
        (locked(), "without password"),
        (in_der(), "P-256 private key"),
    ],
)
def test_anything_but_a_pair_is_refused(tmp_path: Path, pair: tuple[bytes, bytes], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProofKey.read("k", *files(tmp_path, *pair))


def test_a_missing_file_is_named_by_its_variable(tmp_path: Path) -> None:
    private, public = files(tmp_path, *generate_key("ecdsa-p256-sha256"))
    with pytest.raises(ConfigError, match="CORDUM_HANDSHAKE_PUBLIC_KEY_FILE"):
        ProofKey.read("k", private, public + "x")
