"""Whether jobs may run while the safety kernel does not answer (scheduler spec §22).

First that is set: the tenant's document, the system document, `POLICY_CHECK_FAIL_MODE`. Production knows only `closed`.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import structlog

from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s
from cordum.store.config_documents import ConfigDocuments, Document

_log = structlog.get_logger("cordum.scheduler")
_FRESH_S: Final = 30.0
_READ_TIMEOUT_S: Final = 1.0
_TENANTS_MAX: Final = 10_000
_SYSTEM: Final = ""
_SYSTEM_TENANTS: Final = frozenset({"", "default"})
TENANT_OVERRIDE: Final = "tenant_override"
GLOBAL_DEFAULT: Final = "global_default"


class FailModes:
    """The fail modes of all tenants, as last read. ``default`` is the environment's word."""

    def __init__(self, documents: ConfigDocuments, default: str, *, production: bool) -> None:
        self._documents = documents
        self._default = default
        self._production = production
        self._words: dict[str, str] = {}
        self._read_s: dict[str, float] = {}
        self._stale: set[str] = set()
        self._refresh = asyncio.Event()

    async def open_tenants(self, tenants: Iterable[str]) -> dict[str, str]:
        """Return the tenants whose mode is open, each with its origin. What cannot be read is closed."""
        found: dict[str, str] = {}
        for tenant in tenants:
            own = "" if tenant in _SYSTEM_TENANTS else await self._word(tenant)
            word = own or await self._word(_SYSTEM) or self._default
            if word == "open":
                found[tenant] = TENANT_OVERRIDE if own else GLOBAL_DEFAULT
        if found and self._production:
            _log.error(
                "scheduler.input_fail_mode `open` is ignored in production", tenants=sorted(found)[:20]
            )
            return {}
        return found

    async def run(self) -> None:
        """Read again, in the background, what was used after its time."""
        while True:
            await self._refresh.wait()
            self._refresh.clear()
            stale, self._stale = self._stale, set()
            for tenant in stale:
                await self._read(tenant)

    async def _word(self, tenant: str) -> str:
        if tenant not in self._words:
            await self._read(tenant)
        elif monotonic_s() - self._read_s[tenant] > _FRESH_S:
            self._stale.add(tenant)
            self._refresh.set()
        # Never read: nobody knows what the operator wants, so nothing runs.
        return self._words.get(tenant, "closed")

    async def _read(self, tenant: str) -> None:
        scope = ("system", "default") if tenant == _SYSTEM else ("org", tenant)
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                document = await self._documents.get(*scope)
        except (CordumError, TimeoutError) as error:
            _log.warning("fail mode not read, the last one stays", tenant=tenant, error=str(error))
            return
        if len(self._words) >= _TENANTS_MAX:
            self._words.clear()
        self._words[tenant] = self._checked(_mode_of(document), tenant)
        self._read_s[tenant] = monotonic_s()

    def _checked(self, value: Any, tenant: str) -> str:
        if value in ("", None):
            return ""
        word = str(value).strip().lower()
        if word not in {"open", "closed"}:
            _log.error("scheduler.input_fail_mode is neither open nor closed: closed", tenant=tenant)
            return "closed"
        return word


def _mode_of(document: Document | None) -> Any:
    section = document.data.get("scheduler") if document else None
    return section.get("input_fail_mode") if isinstance(section, dict) else None
