"""Masking of secrets in log attributes and texts (security spec §17.3)."""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

__all__ = ["REDACTED", "is_secret_key", "mask_mapping", "mask_text", "mask_value", "may_hold_secret"]

REDACTED: Final = "[REDACTED]"
_MAX_DEPTH: Final = 6

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS: Final = frozenset(
    {
        "password",
        "passwd",
        "secret",
        "token",
        "apikey",
        "credential",
        "credentials",
        "authorization",
        "cookie",
    }
)
_SECRET_PAIRS: Final = frozenset({("api", "key"), ("private", "key"), ("api", "keys")})
_EXEMPT_ENDINGS: Final = frozenset({"count", "id", "ttl"})

_SHAPES = re.compile(
    r"(?P<url>(?<=://)[^/\s@]+(?=@))"
    r"|(?P<parameter>(?i:[?&][\w.-]{0,64}(?:token|secret|password|sig|signature|key|credential|auth)[\w.-]{0,64})=)[^&\s\"']+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\bck_[A-Za-z0-9_-]{8,}"
    r"|\bsession-[A-Za-z0-9_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*",
    re.DOTALL,
)


@lru_cache(maxsize=2048)
def is_secret_key(key: str) -> bool:
    """Tell whether an attribute of this name holds a secret; whole words only, so `token_count` does not."""
    words = [word.lower() for word in _WORD.findall(key)]
    if not words or words[-1] in _EXEMPT_ENDINGS:
        return False
    return not _SECRET_WORDS.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in pairwise(words))


_HINTS: Final = ("://", "=", "-----begin", "bearer", "ck_", "session-", "eyj")
"""What every text of a secret's shape holds, in lower case; looking for these costs a tenth of looking for shapes."""


def may_hold_secret(text: str) -> bool:
    """Tell whether a text may have the shape of a secret in it; never false for one that has."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def mask_text(text: str) -> str:
    """Replace everything in a text that has the shape of a secret."""
    return _SHAPES.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    if match["parameter"] is not None:
        return match["parameter"] + REDACTED
    return "***" if match["url"] is not None else REDACTED


def mask_value(value: Any, depth: int = 0) -> Any:
    """Mask texts inside a value of any JSON shape; what lies deeper than the limit is cut."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return mask_mapping(value, depth + 1) if depth < _MAX_DEPTH else "…"
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(item, depth + 1) for item in value] if depth < _MAX_DEPTH else "…"
    return value


def mask_mapping(values: dict[Any, Any], depth: int = 0) -> dict[Any, Any]:
    """Return a copy in which secret attributes and secret-shaped texts are masked."""
    return {
        key: REDACTED if is_secret_key(str(key)) and value else mask_value(value, depth)
        for key, value in values.items()
    }
