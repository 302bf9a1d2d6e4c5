"""Static API keys: every form of security spec §3.1, kept as digests only (§3.2)."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import orjson

from cordum._core import is_tenant_id
from cordum.domain.errors import ConfigError
from cordum.security.principal import Caller

__all__ = ["ApiKey", "KeyRing", "parse_keys"]

MIN_PRODUCTION_LENGTH: Final = 32
_FIELDS: Final = frozenset({"key", "tenant", "role", "principal_id", "expires_at", "allow_cross_tenant"})


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key without its text."""

    digest: bytes
    caller: Caller
    expires_us: int | None = None
    length: int = 0
    has_default_role: bool = False


def parse_keys(text: str, *, source: str, default_tenant: str) -> list[ApiKey]:
    """Read a comma list or one of the JSON forms.

    Raises ConfigError naming ``source`` and the element's index, never its text.
    """
    text = text.strip()
    if text[:1] not in {"[", "{"}:
        return [
            _from_parts(part.strip(), f"{source}: element {index}", default_tenant)
            for index, part in enumerate(text.split(","))
            if part.strip()
        ]
    return [
        _from_fields(entry, f"{source}: element {index}", default_tenant)
        for index, entry in enumerate(_entries(text, source))
    ]


def _from_parts(element: str, where: str, default_tenant: str) -> ApiKey:
    parts = [part.strip() for part in element.split(":")]
    if len(parts) > 4:
        raise ConfigError(f"{where}: expected `tenant:key:role:principal` at most, got {len(parts)} parts")
    tenant, key = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    role = parts[2] if len(parts) > 2 else ""
    return _make(where, key, tenant or default_tenant, role, parts[3] if len(parts) > 3 else "")


def _entries(text: str, source: str) -> list[Mapping[str, Any]]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{source}: expected JSON, got text that does not parse") from error
    if isinstance(document, dict) and set(document) == {"keys"} and isinstance(document["keys"], list):
        document = document["keys"]
    if isinstance(document, dict):
        document = [
            {**entry, "key": key} if isinstance(entry, dict) else entry for key, entry in document.items()
        ]
    for index, entry in enumerate(document):
        if not isinstance(entry, dict):
            raise ConfigError(f"{source}: element {index}: expected an object")
    return list(document)


def _from_fields(entry: Mapping[str, Any], where: str, default_tenant: str) -> ApiKey:
    if unknown := set(entry) - _FIELDS:
        raise ConfigError(f"{where}: {len(unknown)} unknown fields")
    for name in ("key", "tenant", "role", "principal_id", "expires_at"):
        if not isinstance(entry.get(name, ""), str):
            raise ConfigError(f"{where}: expected text as `{name}`")
    cross_tenant = entry.get("allow_cross_tenant", False)
    if not isinstance(cross_tenant, bool):
        raise ConfigError(f"{where}: expected true or false as `allow_cross_tenant`")
    key = _make(
        where,
        entry.get("key", "").strip(),
        entry.get("tenant", "").strip() or default_tenant,
        entry.get("role", "").strip(),
        entry.get("principal_id", "").strip(),
        cross_tenant=cross_tenant,
    )
    expires_at = entry.get("expires_at", "").strip()
    return replace(key, expires_us=_time(expires_at, where)) if expires_at else key


def _time(text: str, where: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{where}: expected an RFC 3339 time as `expires_at`") from error
    if parsed.tzinfo is None:
        raise ConfigError(f"{where}: expected a time zone in `expires_at`")
    return int(parsed.timestamp() * 1_000_000)


def _make(
    where: str, key: str, tenant: str, role: str, principal: str, *, cross_tenant: bool = False
) -> ApiKey:
    if not key:
        raise ConfigError(f"{where}: expected a key, got nothing")
    if not is_tenant_id(tenant):
        raise ConfigError(f"{where}: expected a tenant id of letters, digits, `.`, `_` and `-`")
    digest = hashlib.sha256(key.encode()).digest()
    caller = Caller(
        tenant=tenant,
        role=(role or "admin").lower(),
        principal=principal,
        key_id=f"static:{digest.hex()[:12]}",
        fingerprint=digest.hex()[:16],
        cross_tenant=cross_tenant,
    )
    return ApiKey(digest, caller, length=len(key), has_default_role=not role)


class KeyRing:
    """An immutable set of keys; a reload makes a new one."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys: dict[bytes, ApiKey] = {key.digest: key for key in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def check_production(self) -> list[str]:
        """Return warnings about keys. Raises ConfigError for a key below 32 characters (README decision 16)."""
        warnings: list[str] = []
        for index, key in enumerate(self._keys.values()):
            if key.length < MIN_PRODUCTION_LENGTH:
                raise ConfigError(
                    f"CORDUM_API_KEYS: element {index}: expected at least {MIN_PRODUCTION_LENGTH} characters "
                    f"in production, got {key.length}"
                )
            if key.has_default_role:
                warnings.append(f"API key {key.caller.key_id} names no role and is an admin key")
        return warnings

    def find(self, key: str, now_us: int) -> Caller | None:
        """Return the caller of a key, None when it is unknown or expired."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        found = self._keys.get(digest)
        if found is None or not hmac.compare_digest(found.digest, digest):
            return None
        if found.expires_us is not None and found.expires_us <= now_us:
            return None
        return found.caller
