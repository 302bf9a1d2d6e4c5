"""Settings of the audit chain (security spec §19.3)."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from cordum.config.base import SECURITY, Settings
from cordum.config.types import Secret
from cordum.domain.errors import ConfigError

__all__ = ["AuditSettings"]

_KEY: Final = "CORDUM_AUDIT_HMAC_KEY"
_KEY_MIN_BYTES: Final = 32
_HEX: Final = re.compile(r"[0-9a-fA-F]+")


class AuditSettings(Settings):
    """Key of the chain. Without one the chain shows changes, but whoever can write to Redis can make a new chain."""

    hmac_key: Secret = Field(Secret(""), validation_alias=_KEY)
    hmac_key_id: str = Field("", max_length=64, validation_alias=f"{_KEY}_ID", json_schema_extra=SECURITY)

    chain_fail: Literal["strict", "permissive"] = Field(
        "strict", validation_alias="CORDUM_AUDIT_CHAIN_FAIL", json_schema_extra=SECURITY
    )
    """`strict`: what cannot be audited does not happen."""

    buffer_size: int = Field(1_000, ge=1, le=1_000_000, validation_alias="CORDUM_AUDIT_BUFFER_SIZE")
    """Events nobody waits for that are kept until they are in the chain."""

    @property
    def key(self) -> bytes:
        """Return the key that protects new events; empty without one."""
        return _key_bytes(self.hmac_key.get_secret_value()) or b""

    @property
    def key_id(self) -> str:
        """Return its id: the configured one, else the first 8 hex digits of its SHA-256; empty without a key."""
        key = self.key
        return (self.hmac_key_id or hashlib.sha256(key).hexdigest()[:8]) if key else ""

    def older_keys(self, environment: Mapping[str, str]) -> dict[str, bytes]:
        """Return the keys of `CORDUM_AUDIT_HMAC_KEY_<ID>` by lower-case id; they only verify.

        Raises ConfigError naming the variable of an unusable key.
        """
        found: dict[str, bytes] = {}
        for variable, value in environment.items():
            name = variable.removeprefix(f"{_KEY}_")
            if name == variable or name in {"ID", "FILE"} or not value.strip():
                continue
            key = _key_bytes(value)
            if key is None:
                raise ConfigError(f"{variable}: expected at least {_KEY_MIN_BYTES} bytes in hex")
            found[name.lower()] = key
        return found

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.hmac_key.get_secret_value().strip() and not self.key:
            raise ValueError(f"{_KEY}: expected at least {_KEY_MIN_BYTES} bytes in hex")
        return self


def _key_bytes(text: str) -> bytes | None:
    compact = text.strip()
    if len(compact) % 2 or len(compact) < 2 * _KEY_MIN_BYTES or not _HEX.fullmatch(compact):
        return None
    return bytes.fromhex(compact)
