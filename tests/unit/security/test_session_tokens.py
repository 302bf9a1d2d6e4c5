"""Session tokens: what they say, who signed them, and forgeries (protocol spec §15.1, §15.2)."""

import base64
from dataclasses import replace
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cordum.domain.errors import ConfigError
from cordum.security.policy_signatures import Signer, TrustedKeys, generate_key
from cordum.security.session_tokens import ServiceToken, SessionClaims, SessionTokens, is_session_form

NOW = 1_800_000_000
SIGNER = Signer("session-v1", Ed25519PrivateKey.generate())
TOKENS = SessionTokens(SIGNER)
CLAIMS = SessionClaims("w-1", "acme", "a" * 32, NOW, NOW + 3_600, "agent-1", "key-1", "sdk/1")


def part(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    return dict(orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def test_a_token_says_what_the_protocol_names() -> None:
    token = TOKENS.mint(CLAIMS)
    assert part(token, 0) == {"alg": "EdDSA", "kid": "session-v1", "typ": "cordum-session"}
    assert part(token, 1) == {
        **{"iss": "cordum", "aud": "cordum-scheduler", "sub": "w-1", "agent": "agent-1", "tenant": "acme"},
        **{"key": "key-1", "sdk": "sdk/1", "jti": "a" * 32, "iat": NOW, "exp": NOW + 3_600},
    }
    assert TOKENS.read(token) == CLAIMS
    assert is_session_form(token)
    assert not is_session_form("0" * 64)


def signed(payload: dict[str, Any], key: Any = SIGNER.key, alg: str = "EdDSA", **header: str) -> str:
    return jwt.encode(
        payload, key, algorithm=alg, headers={"kid": "session-v1", "typ": "cordum-session", **header}
    )


GOOD = part(TOKENS.mint(CLAIMS), 1)
PUBLIC = SIGNER.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        signed(GOOD, Ed25519PrivateKey.generate()),
        signed(GOOD, kid="session-v2"),
        signed(GOOD, typ="JWT"),
        signed(GOOD, PUBLIC, "HS256"),
        signed({**GOOD, "aud": "other"}),
        signed({**GOOD, "iss": "other"}),
        signed({**GOOD, "sub": ""}),
        signed({**GOOD, "tenant": 7}),
        signed({**GOOD, "exp": "soon"}),
        signed({**GOOD, "iat": True}),
        signed({name: value for name, value in GOOD.items() if name != "jti"}),
        jwt.encode(GOOD, None, algorithm="none", headers={"kid": "session-v1", "typ": "cordum-session"}),
        TOKENS.mint(CLAIMS)[:-2],
        TOKENS.mint(replace(CLAIMS, sdk_version="x" * 20_000)),
    ],
)
def test_anything_else_is_no_token(token: str) -> None:
    assert TOKENS.read(token) is None


def test_other_keys_count_while_the_signing_key_is_rotated() -> None:
    older = Signer("session-v0", Ed25519PrivateKey.generate())
    trusted = TrustedKeys()
    trusted.add(older.public)
    both = SessionTokens(SIGNER, trusted)
    assert both.read(SessionTokens(older).mint(CLAIMS)) == CLAIMS
    assert TOKENS.read(SessionTokens(older).mint(CLAIMS)) is None


def test_only_an_ed25519_key_signs_tokens() -> None:
    private, _ = generate_key("ecdsa-p256-sha256")
    with pytest.raises(ConfigError, match="Ed25519"):
        SessionTokens(Signer.read(private.decode()))


@pytest.mark.parametrize(
    ("at", "holds"), [(NOW - 61, False), (NOW - 60, True), (NOW + 3_659, True), (NOW + 3_660, False)]
)
def test_clocks_may_be_a_minute_apart(at: int, holds: bool) -> None:
    assert CLAIMS.holds_at(at) is holds


def test_a_service_makes_a_new_token_before_the_old_one_is_over() -> None:
    clock = [NOW]
    ids = iter("abc")
    token = ServiceToken(TOKENS, "gateway", lambda: next(ids), lambda: clock[0])
    first = token()
    claims = TOKENS.read(first)
    assert claims is not None
    assert (claims.subject, claims.tenant, claims.is_service) == ("svc:gateway", "*", True)
    assert claims.expires_at - claims.issued_at == 300
    clock[0] += 239
    assert token() == first
    clock[0] += 1
    assert token() != first
