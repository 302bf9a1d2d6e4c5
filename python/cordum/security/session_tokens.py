"""Tokens of worker sessions and of our own services: compact JWS with Ed25519 (RFC 7515, RFC 8037; protocol §15).

Whether a session is over or revoked is not in the token; this module only says who signed what and for when.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cordum.domain.errors import ConfigError
from cordum.security.policy_signatures import Signer, TrustedKeys

__all__ = ["LIFETIME_S", "ServiceToken", "SessionClaims", "SessionTokens", "is_session_form"]

LIFETIME_S: Final = 3_600
SERVICE_LIFETIME_S: Final = 300
SKEW_S: Final = 60
ISSUER: Final = "cordum"
AUDIENCE: Final = "cordum-scheduler"
_TYPE: Final = "cordum-session"
_ALGORITHM: Final = "EdDSA"
_SERVICE: Final = "svc:"
_ALL_TENANTS: Final = "*"
_MAX_CHARACTERS: Final = 16 * 1024
_TEXTS: Final = ("sub", "tenant", "jti")


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """What a token says. Times are Unix seconds."""

    subject: str
    tenant: str
    jti: str
    issued_at: int
    expires_at: int
    agent_id: str = ""
    proof_key_id: str = ""
    sdk_version: str = ""

    @property
    def is_service(self) -> bool:
        """Tell whether it is a token of one of our services."""
        return self.subject.startswith(_SERVICE)

    def holds_at(self, at_s: float) -> bool:
        """Tell whether a time lies in its lifetime, clocks apart by at most a minute."""
        return self.issued_at - SKEW_S <= at_s < self.expires_at + SKEW_S


class SessionTokens:
    """Makes and reads tokens. ``trusted``: keys of which a token may be signed, beside our own."""

    def __init__(self, signer: Signer, trusted: TrustedKeys | None = None) -> None:
        if not isinstance(signer.key, Ed25519PrivateKey):
            raise ConfigError(
                "CORDUM_POLICY_SIGNING_KEY: expected an Ed25519 key, which signs session tokens"
            )
        self._key_id = signer.key_id
        self._key = signer.key
        self._trusted = trusted or TrustedKeys()
        self._trusted.add(signer.public)

    def mint(self, claims: SessionClaims) -> str:
        """Return the token of these claims."""
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": claims.subject,
            "agent": claims.agent_id,
            "tenant": claims.tenant,
            "key": claims.proof_key_id,
            "sdk": claims.sdk_version,
            "jti": claims.jti,
            "iat": claims.issued_at,
            "exp": claims.expires_at,
        }
        headers = {"kid": self._key_id, "typ": _TYPE}
        return jwt.encode(payload, self._key, algorithm=_ALGORITHM, headers=headers)

    def read(self, token: str) -> SessionClaims | None:
        """Return the claims of a token that one of our keys signed, whatever the time; None for anything else."""
        if len(token) > _MAX_CHARACTERS:
            return None
        try:
            header = jwt.get_unverified_header(token)
            key_id = header.get("kid")
            key = self._trusted.find(key_id) if isinstance(key_id, str) else None
            if key is None or not isinstance(key.key, Ed25519PublicKey) or header.get("typ") != _TYPE:
                return None
            payload = jwt.decode(
                token,
                key.key,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["iat", "exp", *_TEXTS],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError):
            return None
        return _claims(payload)


def is_session_form(text: str) -> bool:
    """Tell whether a text looks like a token; a worker credential does not."""
    return text.count(".") == 2


def _claims(payload: dict[str, Any]) -> SessionClaims | None:
    times = [payload["iat"], payload["exp"]]
    optional = [payload.get(name, "") for name in ("agent", "key", "sdk")]
    texts = [payload[name] for name in _TEXTS]
    if not all(isinstance(time, int) and not isinstance(time, bool) for time in times):
        return None
    if not all(isinstance(text, str) and text for text in texts):
        return None
    if not all(isinstance(text, str) for text in optional):
        return None
    return SessionClaims(*texts, *times, *optional)


class ServiceToken:
    """The token of one of our services, made anew when a fifth of its life is left."""

    def __init__(
        self, tokens: SessionTokens, component: str, new_jti: Callable[[], str], now_s: Callable[[], int]
    ) -> None:
        self._tokens = tokens
        self._subject = _SERVICE + component
        self._new_jti = new_jti
        self._now_s = now_s
        self._token = ""
        self._renew_at_s = 0

    def __call__(self) -> str:
        """Return the current token."""
        now = self._now_s()
        if now >= self._renew_at_s:
            claims = SessionClaims(
                self._subject, _ALL_TENANTS, self._new_jti(), now, now + SERVICE_LIFETIME_S
            )
            self._token = self._tokens.mint(claims)
            self._renew_at_s = now + SERVICE_LIFETIME_S * 4 // 5
        return self._token
