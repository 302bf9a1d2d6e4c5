"""Signatures of policies: keys, signing and verification (policy spec §11, security spec §16).

Algorithms: ECDSA P-256 with SHA-256, ECDSA P-384 with SHA-384 (FIPS 186-5), Ed25519 (RFC 8032). The algorithm always
follows from our key; a signature never chooses one.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from cordum.domain.errors import ConfigError

__all__ = [
    "Algorithm",
    "Reason",
    "SignatureRefused",
    "Signer",
    "TrustedKey",
    "TrustedKeys",
    "generate_key",
]

Algorithm = Literal["ecdsa-p256-sha256", "ecdsa-p384-sha384", "ed25519"]
Reason = Literal["unsigned", "malformed", "no_trust_store", "untrusted_key", "invalid_signature"]
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

DEFAULT_ID: Final = "default"
SIGNATURE_MAX_BYTES: Final = 16 * 1024
_KEY_MAX_BYTES: Final = 16 * 1024
_KEYS_MAX: Final = 1_000
_PREFIX: Final = re.compile(r"^(?:ed25519|ecdsa):")
_CURVES: Final[Mapping[str, tuple[Algorithm, int, hashes.HashAlgorithm]]] = {
    "secp256r1": ("ecdsa-p256-sha256", 32, hashes.SHA256()),
    "secp384r1": ("ecdsa-p384-sha384", 48, hashes.SHA384()),
}


class SignatureRefused(Exception):
    """A signature does not hold; `reason` is the word of policy spec §11.2."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and its id."""

    key_id: str
    algorithm: Algorithm
    key: PublicKey

    @classmethod
    def read(cls, value: str, key_id: str = DEFAULT_ID, *, name: str = "public key") -> "TrustedKey":
        """Read any key form of policy spec §11.1: PEM, DER or raw in base64 or hex, or the name of a file with one.

        Raises ConfigError naming ``name``; the value itself is never shown.
        """
        key = _public_key(_key_text(value, name), name)
        return cls(normal_id(key_id), _algorithm(key, name), key)

    def holds(self, content: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` (DER or r‖s for ECDSA) is one of ``content``."""
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, content)
            else:
                _, size, digest = _CURVES[self.key.curve.name]
                self.key.verify(_as_der(signature, size), content, ec.ECDSA(digest))
        except InvalidSignature:
            return False
        return True


class TrustedKeys:
    """The keys whose signatures count, by id; ids ignore case, `-` equals `_`.

    A signature without key id is tried against the key ``bare_id`` alone (security spec §16).
    """

    def __init__(self, bare_id: str = DEFAULT_ID) -> None:
        self._bare_id = normal_id(bare_id)
        self._keys: dict[str, TrustedKey] = {}

    @classmethod
    def load(
        cls, base_key: str, base_key_id: str, folder: str, environment: Mapping[str, str]
    ) -> "TrustedKeys":
        """Collect `SAFETY_POLICY_PUBLIC_KEY`, `CORDUM_POLICY_PUBLIC_KEY_<ID>` and `<folder>/<id>.pem`.

        Raises ConfigError for an unreadable or unsupported key, or for two different keys under one id.
        """
        trusted = cls(base_key_id)
        if base_key:
            trusted.add(TrustedKey.read(base_key, base_key_id, name="SAFETY_POLICY_PUBLIC_KEY"))
        prefix = "CORDUM_POLICY_PUBLIC_KEY_"
        for variable, value in sorted(environment.items()):
            if variable.startswith(prefix) and value.strip():
                trusted.add(TrustedKey.read(value, variable.removeprefix(prefix), name=variable))
        if folder:
            trusted._add_folder(Path(folder))
        return trusted

    def _add_folder(self, folder: Path) -> None:
        try:
            paths = sorted(folder.glob("*.pem"))
            if not folder.is_dir():
                raise NotADirectoryError
        except OSError as error:
            raise ConfigError(f"CORDUM_POLICY_TRUSTED_KEYS_DIR: cannot read the folder `{folder}`") from error
        if len(paths) > _KEYS_MAX:
            raise ConfigError(f"CORDUM_POLICY_TRUSTED_KEYS_DIR: expected at most {_KEYS_MAX} keys")
        for path in paths:
            self.add(TrustedKey.read(str(path), path.stem, name=str(path)))

    def add(self, key: TrustedKey) -> None:
        """Trust a key. Raises ConfigError when its id stands for another key."""
        known = self._keys.setdefault(key.key_id, key)
        if _raw_public(known.key) != _raw_public(key.key):
            raise ConfigError(f"policy public keys: the id `{key.key_id}` names two different keys")

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str) -> TrustedKey | None:
        """Return the key of an id."""
        return self._keys.get(normal_id(key_id))

    def verify(self, content: bytes, signature: bytes | str | Mapping[str, Any] | None) -> str:
        """Return the id of the key that signed exactly ``content``.

        ``signature``: raw bytes, base64, hex, or the JSON form as text or mapping (policy spec §11.1). Raises
        SignatureRefused.
        """
        if not signature:
            raise SignatureRefused("unsigned", "policy signature required")
        if not self._keys:
            raise SignatureRefused("no_trust_store", "no policy public key is configured")
        if isinstance(signature, Mapping):
            return self._verify_fields(content, signature)
        fields = _json_fields(signature)
        if fields is not None:
            return self._verify_fields(content, fields)
        key = self._keys.get(self._bare_id)
        if key is None:
            raise SignatureRefused(
                "untrusted_key", f"no key `{self._bare_id}` for a signature without key id"
            )
        if not any(key.holds(content, candidate) for candidate in _value_bytes(signature)):
            raise SignatureRefused("invalid_signature", "the policy signature does not verify")
        return key.key_id

    def _verify_fields(self, content: bytes, fields: Mapping[str, Any]) -> str:
        for name in ("algorithm", "key_id", "value"):
            if not isinstance(fields.get(name), str) or not fields[name].strip():
                raise SignatureRefused("malformed", f"the policy signature lacks `{name}`")
        key = self._keys.get(normal_id(fields["key_id"]))
        if key is None:
            raise SignatureRefused("untrusted_key", f"the key `{fields['key_id'][:128]}` is not trusted")
        if fields["algorithm"].strip().lower() != key.algorithm:
            raise SignatureRefused("invalid_signature", f"expected algorithm `{key.algorithm}` for this key")
        size = fields.get("signed_bytes")
        if size is not None and (isinstance(size, bool) or size != len(content)):
            raise SignatureRefused("invalid_signature", "`signed_bytes` is not the length of the policy")
        digest = fields.get("hash")
        if digest is not None and not _same_hash(digest, content):
            raise SignatureRefused("invalid_signature", "`hash` is not the SHA-256 of the policy")
        if not any(key.holds(content, candidate) for candidate in _value_bytes(fields["value"])):
            raise SignatureRefused("invalid_signature", "the policy signature does not verify")
        return key.key_id


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key that signs policies."""

    key_id: str
    key: PrivateKey

    @classmethod
    def read(cls, value: str, key_id: str = DEFAULT_ID, *, name: str = "signing key") -> "Signer":
        """Read a private key: PEM, or base64/hex of PKCS #8 DER or of a 32 byte Ed25519 seed, or a file name.

        Raises ConfigError naming ``name``.
        """
        return cls(normal_id(key_id), _private_key(_key_text(value, name), name))

    @classmethod
    def from_seed(cls, seed: str, key_id: str = DEFAULT_ID) -> "Signer":
        """Derive a development key from SHA-256 of a text (policy spec §11.2)."""
        secret = hashlib.sha256(seed.encode()).digest()
        return cls(normal_id(key_id), ed25519.Ed25519PrivateKey.from_private_bytes(secret))

    @property
    def public(self) -> TrustedKey:
        """The public half under the same id."""
        key = self.key.public_key()
        return TrustedKey(self.key_id, _algorithm(key, "signing key"), key)

    def sign(self, content: bytes) -> dict[str, Any]:
        """Return the JSON form of a signature over exactly ``content`` (policy spec §11.3)."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            value = self.key.sign(content)
        else:
            value = self.key.sign(content, ec.ECDSA(_CURVES[self.key.curve.name][2]))
        return {
            "algorithm": self.public.algorithm,
            "key_id": self.key_id,
            "value": base64.b64encode(value).decode(),
            "hash": hashlib.sha256(content).hexdigest(),
            "signed_bytes": len(content),
        }


def generate_key(algorithm: Algorithm) -> tuple[bytes, bytes]:
    """Return a new key pair as PEM: private (PKCS #8), public (SPKI)."""
    key: PrivateKey
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = ec.generate_private_key(ec.SECP256R1() if algorithm == "ecdsa-p256-sha256" else ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def normal_id(key_id: str) -> str:
    """Return the form in which key ids are compared."""
    return key_id.strip().lower().replace("_", "-") or DEFAULT_ID


# -- forms of keys -------------------------------------------------------------------------------------


def _key_text(value: str, name: str) -> bytes:
    """Return the key material: of the file the value names, else the value itself."""
    text = value.strip().replace("\\n", "\n")
    if "\n" in text or len(text) > 1_024:
        return text.encode()
    try:
        path = Path(text)
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_KEY_MAX_BYTES).strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: cannot read the key file") from error
    return text.encode()


def _public_key(material: bytes, name: str) -> PublicKey:
    try:
        if b"-----BEGIN" in material:
            return _supported(serialization.load_pem_public_key(material), name)
        for raw in _decodings(material):
            key = _public_from_bytes(raw, name)
            if key is not None:
                return key
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(name) from error
    raise _bad_key(name)


def _public_from_bytes(raw: bytes, name: str) -> PublicKey | None:
    if len(raw) == 32:
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    if raw[:1] == b"\x04" and len(raw) in (65, 97):
        curve = ec.SECP256R1() if len(raw) == 65 else ec.SECP384R1()
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, raw)
    if raw[:1] == b"\x30":
        return _supported(serialization.load_der_public_key(raw), name)
    return None


def _private_key(material: bytes, name: str) -> PrivateKey:
    key: object = None
    try:
        if b"-----BEGIN" in material:
            key = serialization.load_pem_private_key(material, None)
        else:
            for raw in _decodings(material):
                if len(raw) == 32:
                    key = ed25519.Ed25519PrivateKey.from_private_bytes(raw)
                elif raw[:1] == b"\x30":
                    key = serialization.load_der_private_key(raw, None)
                if key is not None:
                    break
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(name) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    raise _bad_key(name)


def _supported(key: object, name: str) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    raise _bad_key(name)


def _bad_key(name: str) -> ConfigError:
    return ConfigError(f"{name}: expected an ECDSA P-256, ECDSA P-384 or Ed25519 key in PEM, base64 or hex")


def _algorithm(key: PublicKey, name: str) -> Algorithm:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if key.curve.name not in _CURVES:
        raise _bad_key(name)
    return _CURVES[key.curve.name][0]


def _raw_public(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# -- forms of signatures -------------------------------------------------------------------------------


def _json_fields(signature: bytes | str) -> dict[str, Any] | None:
    text = signature.encode() if isinstance(signature, str) else signature
    if not text.lstrip().startswith(b"{"):
        return None
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        if isinstance(signature, bytes):
            return None  # raw bytes may begin with any character
        raise SignatureRefused("malformed", "the policy signature is not valid JSON") from None
    if not isinstance(fields, dict):
        raise SignatureRefused("malformed", "the policy signature is not a JSON object")
    return fields


def _value_bytes(value: bytes | str) -> list[bytes]:
    """Return the possible readings of a signature value: as it is, hex, base64 (standard or URL alphabet)."""
    raw = [value] if isinstance(value, bytes) else []
    text = value.encode() if isinstance(value, str) else value
    if len(text) > SIGNATURE_MAX_BYTES:
        raise SignatureRefused(
            "malformed", f"the policy signature is larger than {SIGNATURE_MAX_BYTES} bytes"
        )
    bare = _PREFIX.sub("", text.decode("latin-1").strip())
    readings = raw + _decodings(bare.encode("latin-1"))
    if not readings:
        raise SignatureRefused("malformed", "the policy signature is neither base64 nor hex")
    return readings


def _decodings(text: bytes) -> list[bytes]:
    compact = b"".join(text.split())
    found: list[bytes] = []
    if len(compact) % 2 == 0:
        with suppress(binascii.Error):  # not hex
            found.append(binascii.unhexlify(compact))
    padded = compact.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    with suppress(binascii.Error):  # not base64
        found.append(base64.b64decode(padded + b"=" * (-len(padded) % 4), validate=True))
    return found


def _as_der(signature: bytes, size: int) -> bytes:
    """Turn r‖s into ASN.1 DER; anything else is taken to be DER."""
    if len(signature) != 2 * size:
        return signature
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    return encode_dss_signature(r, s)


def _same_hash(digest: object, content: bytes) -> bool:
    expected = hashlib.sha256(content).hexdigest()
    return isinstance(digest, str) and hmac.compare_digest(digest.strip().lower().encode(), expected.encode())
