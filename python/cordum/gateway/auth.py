"""Credentials of a request: where they are looked for and whom they stand for (gateway spec §4, security spec §2.4)."""

import asyncio
import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from cordum._core import is_tenant_id
from cordum.config.gateway import GatewaySettings
from cordum.domain.errors import ConfigError, Forbidden, Unauthenticated
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.security.keys import ApiKey, KeyRing, parse_keys
from cordum.security.principal import ANONYMOUS, Caller

__all__ = ["Authenticator", "select_subprotocol"]

RELOAD_S: Final = 30.0
MAX_PRINCIPAL_BYTES: Final = 256
_SUBPROTOCOL: Final = "cordum-api-key"

_log = get_logger()


class Authenticator:
    """Finds the caller of a request. The key ring is swapped as a whole when the key file changes."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._stamp: object = None
        self._ring = self._load()

    def caller(self, headers: Mapping[bytes, bytes], *, websocket: bool = False, tenant: str = "") -> Caller:
        """Return the caller with its tenant resolved; ``tenant`` is what a WebSocket's query names.

        Raises Unauthenticated for a missing or bad credential, Forbidden for a foreign tenant.
        """
        key = self._credential(headers, websocket=websocket)
        if key is None:
            if not self._settings.allow_no_auth:
                raise Unauthenticated("unauthorized")
            found = ANONYMOUS
        else:
            caller = self._ring.find(key, now_us()) if key else None
            if caller is None:
                raise Unauthenticated("unauthorized")
            found = caller
        named = headers.get(b"x-tenant-id") or headers.get(b"x-cordum-tenant")
        resolved = self._tenant(found, named.decode("latin-1").strip() if named else tenant)
        principal = headers.get(b"x-principal-id", b"").decode("latin-1").strip()
        if len(principal) > MAX_PRINCIPAL_BYTES or not principal.isprintable() or "|" in principal:
            principal = ""
        return found.acting_for(resolved, principal, may_name_itself=self._settings.header_principals)

    def _tenant(self, caller: Caller, named: str) -> str:
        own = caller.tenant or self._settings.tenant_id
        if not named or named == own:
            return own
        if not caller.cross_tenant or not is_tenant_id(named):
            raise Forbidden("tenant access denied", code="tenant_access_denied")
        return named

    @staticmethod
    def _credential(headers: Mapping[bytes, bytes], *, websocket: bool) -> str | None:
        """Return the presented credential, empty when it is unusable, None when there is none."""
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, value = authorization.decode("latin-1").partition(" ")
            return _clean(value) if scheme.lower() == "bearer" else ""
        key = headers.get(b"x-api-key")
        if key is not None:
            return _clean(key.decode("latin-1"))
        if websocket:
            offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
            return _subprotocol_key([entry.strip() for entry in offered.split(",") if entry.strip()])
        return None

    def _load(self) -> KeyRing:
        settings = self._settings
        keys: list[ApiKey] = []
        self._stamp = self._file_stamp()
        for source, text in (
            ("CORDUM_API_KEYS", settings.api_keys.get_secret_value()),
            ("CORDUM_API_KEY", settings.api_key.get_secret_value()),
            ("CORDUM_API_KEYS_PATH", self._file_text()),
        ):
            if text.strip():
                keys += parse_keys(text, source=source, default_tenant=settings.tenant_id)
        # Made once here what `acting_for` would make anew for nearly every request.
        names_itself = settings.header_principals
        ring = KeyRing(
            replace(key, caller=key.caller.acting_for(key.caller.tenant, "", may_name_itself=names_itself))
            for key in keys
        )
        if settings.production:
            for warning in ring.check_production():
                _log.warning(warning)
        return ring

    def _file_text(self) -> str:
        path = self._settings.api_keys_path
        if not path:
            return ""
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("CORDUM_API_KEYS_PATH: expected a readable text file") from error

    def _file_stamp(self) -> object:
        path = self._settings.api_keys_path
        if not path:
            return None
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def reload(self) -> bool:
        """Read the key file again when it changed; a bad file keeps the old keys. Tell whether they were swapped."""
        if self._file_stamp() == self._stamp:
            return False
        try:
            self._ring = self._load()
        except ConfigError as error:
            _log.error("API key file not loaded, keeping the old keys", reason=error.message)
            return False
        _log.info("API keys loaded again", keys=len(self._ring))
        return True

    async def follow_file(self) -> None:
        """Look at the key file every 30 s (security spec §3.3)."""
        while True:
            await asyncio.sleep(RELOAD_S)
            self.reload()


def _clean(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    return value


def _subprotocol_key(offered: list[str]) -> str | None:
    for index, entry in enumerate(offered):
        name, dot, encoded = entry.partition(".")
        if name.lower() != _SUBPROTOCOL:
            continue
        if not dot and index + 1 < len(offered):
            encoded = offered[index + 1]
        return _decoded(encoded)
    return None


def _decoded(text: str) -> str:
    """Decode unpadded base64url, else standard base64, else take the text as it is (protocol spec §21.2)."""
    padded = text + "=" * (-len(text) % 4)
    for alphabet in (b"-_", b"+/"):
        try:
            return base64.b64decode(padded, altchars=alphabet, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            continue
    return text


def select_subprotocol(offered: Iterable[str]) -> str | None:
    """Return the subprotocol to answer with: one the client offered."""
    entries = [entry.strip() for entry in offered]
    for entry in entries:
        if entry.lower() == _SUBPROTOCOL:
            return entry
    return next((entry for entry in entries if entry.lower().startswith(f"{_SUBPROTOCOL}.")), None)
