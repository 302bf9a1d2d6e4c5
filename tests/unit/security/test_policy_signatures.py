"""Every key and signature form of policy spec §11.1, and what is refused."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cordum.domain.errors import ConfigError
from cordum.security.policy_signatures import (
    Algorithm,
    PrivateKey,
    SignatureRefused,
    Signer,
    TrustedKey,
    TrustedKeys,
    generate_key,
)

POLICY = b'version: "1"\nrules: []\n'
SIZES = {"secp256r1": 32, "secp384r1": 48}
Raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw


def private_key(algorithm: Algorithm) -> PrivateKey:
    return Signer.read(generate_key(algorithm)[0].decode()).key


def public_forms(key: PrivateKey) -> dict[str, str]:
    public = key.public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, spki)
    der = public.public_bytes(serialization.Encoding.DER, spki)
    if isinstance(public, ed25519.Ed25519PublicKey):
        raw = public.public_bytes(*Raw)
    else:
        raw = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    forms = {"pem": pem.decode(), "pem on one line": pem.decode().replace("\n", "\\n")}
    for name, material in (("der", der), ("raw", raw)):
        forms[f"{name} base64"] = base64.b64encode(material).decode()
        forms[f"{name} url base64 without padding"] = base64.urlsafe_b64encode(material).decode().rstrip("=")
        forms[f"{name} hex"] = material.hex()
    return forms


def signature_values(key: PrivateKey) -> dict[str, bytes]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"raw": key.sign(POLICY)}
    digest = hashes.SHA256() if key.curve.name == "secp256r1" else hashes.SHA384()
    der = key.sign(POLICY, ec.ECDSA(digest))
    size = SIZES[key.curve.name]
    return {"der": der, "r||s": b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(der))}


def trusting(key: PrivateKey, key_id: str = "default") -> TrustedKeys:
    trusted = TrustedKeys(key_id)
    trusted.add(TrustedKey.read(public_forms(key)["pem"], key_id))
    return trusted


@pytest.mark.parametrize("algorithm", ["ecdsa-p256-sha256", "ecdsa-p384-sha384", "ed25519"])
def test_every_form_of_a_public_key_gives_the_same_key(algorithm: Algorithm, tmp_path: Path) -> None:
    key = private_key(algorithm)
    forms = public_forms(key)
    path = tmp_path / "key.pem"
    path.write_text(forms["pem"])
    for name, text in {**forms, "file": str(path)}.items():
        read = TrustedKey.read(text, name="TEST")
        assert read.algorithm == algorithm, name
        assert all(read.holds(POLICY, value) for value in signature_values(key).values()), name


@pytest.mark.parametrize("algorithm", ["ecdsa-p256-sha256", "ecdsa-p384-sha384", "ed25519"])
def test_every_form_of_a_signature_verifies_and_a_flipped_byte_does_not(algorithm: Algorithm) -> None:
    key = private_key(algorithm)
    trusted = trusting(key)
    prefix = "ed25519:" if algorithm == "ed25519" else "ecdsa:"
    for value in signature_values(key).values():
        text = base64.b64encode(value).decode()
        fields = {"algorithm": algorithm, "key_id": "Default", "value": text}
        forms: list[bytes | str | dict[str, str]] = [
            value,
            text,
            text + "\n",
            value.hex(),
            prefix + text,
            base64.urlsafe_b64encode(value).rstrip(b"="),
            json.dumps(fields),
            {**fields, "value": prefix + text},
        ]
        for form in forms:
            assert trusted.verify(POLICY, form) == "default"
            with pytest.raises(SignatureRefused, match="does not verify"):
                trusted.verify(POLICY[:-1] + b" ", form)


def test_what_a_signer_signs_verifies_under_its_id_and_covers_hash_and_length() -> None:
    signer = Signer.from_seed("development", "Ops_2025")
    trusted = TrustedKeys()
    trusted.add(signer.public)
    signature = signer.sign(POLICY)
    assert trusted.verify(POLICY, signature) == "ops-2025"
    for change in ({"hash": "00" * 32}, {"signed_bytes": 1}, {"signed_bytes": True}, {"algorithm": "none"}):
        with pytest.raises(SignatureRefused) as refused:
            trusted.verify(POLICY, {**signature, **change})
        assert refused.value.reason == "invalid_signature"


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (None, "unsigned"),
        (b"", "unsigned"),
        ({"algorithm": "ed25519", "value": "AA=="}, "malformed"),
        ("{not json", "malformed"),
        ("!!! neither !!!", "malformed"),
        ("A" * 20_000, "malformed"),
        ({"algorithm": "ed25519", "key_id": "stranger", "value": "AA=="}, "untrusted_key"),
        ("AA==", "invalid_signature"),
    ],
)
def test_a_bad_signature_is_refused_with_its_reason(signature: bytes | None, reason: str) -> None:
    trusted = trusting(private_key("ed25519"))
    with pytest.raises(SignatureRefused) as refused:
        trusted.verify(POLICY, signature)
    assert refused.value.reason == reason


def test_without_any_key_nothing_is_trusted() -> None:
    with pytest.raises(SignatureRefused) as refused:
        TrustedKeys().verify(POLICY, "AA==")
    assert refused.value.reason == "no_trust_store"


def test_a_signature_without_key_id_counts_only_for_the_base_key() -> None:
    base, other = private_key("ed25519"), private_key("ed25519")
    trusted = trusting(base, "base")
    trusted.add(TrustedKey.read(public_forms(other)["pem"], "other"))
    assert trusted.verify(POLICY, base.sign(POLICY)) == "base"  # type: ignore[union-attr, call-arg]
    with pytest.raises(SignatureRefused):
        trusted.verify(POLICY, other.sign(POLICY))  # type: ignore[union-attr, call-arg]


def test_keys_come_from_variables_and_a_folder_and_two_keys_cannot_share_an_id(tmp_path: Path) -> None:
    one, two = generate_key("ed25519")[1], generate_key("ecdsa-p256-sha256")[1]
    (tmp_path / "Team-A.pem").write_bytes(one)
    assert (
        len(TrustedKeys.load("", "default", str(tmp_path), {"CORDUM_POLICY_PUBLIC_KEY_EU": two.decode()}))
        == 2
    )
    assert len(TrustedKeys.load(one.decode(), "team_a", str(tmp_path), {})) == 1
    with pytest.raises(ConfigError, match="two different keys"):
        TrustedKeys.load(two.decode(), "TEAM_A", str(tmp_path), {})
    with pytest.raises(ConfigError, match="CORDUM_POLICY_TRUSTED_KEYS_DIR"):
        TrustedKeys.load("", "default", str(tmp_path / "absent"), {})


def test_other_key_types_are_refused_without_showing_the_value() -> None:
    spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    others = [
        rsa.generate_private_key(65_537, 2_048).public_key().public_bytes(*spki).decode(),
        ec.generate_private_key(ec.SECP521R1()).public_key().public_bytes(*spki).decode(),
        "hunter2-hunter2",
        "ab" * 31,
    ]
    for text in others:
        with pytest.raises(ConfigError) as refused:
            TrustedKey.read(text, name="SAFETY_POLICY_PUBLIC_KEY")
        assert "SAFETY_POLICY_PUBLIC_KEY" in refused.value.message
        assert text[-12:] not in refused.value.message
