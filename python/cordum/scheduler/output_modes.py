"""Whether results are checked, and what happens to those that cannot be (output policy spec §2.1, §8.1).

Fail mode, first that is set: the tenant's document, the system document, `OUTPUT_POLICY_FAIL_MODE`, the policy's own
word; else closed, but open for the first check outside production.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Literal

import structlog

from cordum.config.output_policy import OutputPolicySettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.scheduler.output_metrics import ERROR_TEXTS
from cordum.store.config_documents import ConfigDocuments, Document

__all__ = ["OutputModes"]

Phase = Literal["sync", "async"]

_FRESH_S: Final = 30.0
_FIRST_S: Final = 1.0
_READ_TIMEOUT_S: Final = 5.0
_TENANTS_MAX: Final = 10_000
_SYSTEM_TENANTS: Final = frozenset({"", "default"})

_log = structlog.get_logger("cordum.scheduler")


class OutputModes:
    """What documents, environment and policy say, as last read."""

    def __init__(
        self,
        settings: OutputPolicySettings,
        documents: ConfigDocuments,
        kernel: PolicyClient,
        *,
        production: bool,
    ) -> None:
        self._settings = settings
        self._documents = documents
        self._kernel = kernel
        self._production = production
        self._system = ""
        self._policy = ""
        self._tenants: dict[str, str] = {}
        self._read_s: dict[str, float] = {}
        self._stale: set[str] = set()
        self._has_heard = False
        self.checks_errors = True
        """Whether a rule asks for errors, as far as the kernel told; then nobody reads an error text unchecked."""
        self.enabled = settings.enabled
        """Whether results are checked."""
        self.changed = asyncio.Event()
        """Set to read the documents at once."""

    async def open_tenants(self, tenants: Iterable[str], phase: Phase) -> list[str]:
        """Return the tenants whose results pass without an answer."""
        return [tenant for tenant in tenants if await self._mode(tenant, phase) == "open"]

    async def _mode(self, tenant: str, phase: Phase) -> str:
        own = "" if tenant in _SYSTEM_TENANTS else await self._tenant(tenant)
        stated = own or self._system or self._settings.fail_mode or self._policy
        if stated:
            return stated
        return "open" if phase == "sync" and not self._production else "closed"

    async def _tenant(self, tenant: str) -> str:
        if tenant not in self._tenants:
            await self._read_tenant(tenant)
        elif monotonic_s() - self._read_s[tenant] > _FRESH_S:
            self._stale.add(tenant)
            self.changed.set()
        # Never read: nobody knows what the tenant wants, so nothing passes.
        return self._tenants.get(tenant, "closed")

    async def _read_tenant(self, tenant: str) -> None:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                document = await self._documents.get("org", tenant)
        except (CordumError, TimeoutError) as error:
            _log.warning("output fail mode not read, the last one stays", tenant=tenant, error=str(error))
            return
        if len(self._tenants) >= _TENANTS_MAX:
            self._tenants.clear()
        self._tenants[tenant] = _fail_mode(document, tenant)
        self._read_s[tenant] = monotonic_s()

    async def start(self) -> None:
        """Read everything for the first time. Raises Unavailable: nothing may pass before it is known whether results
        are checked. What a damaged document wanted is not known: they are."""
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                self._take(await self._documents.get("system", "default"))
        except TimeoutError as error:
            raise Unavailable("the output settings could not be read") from error
        except Unavailable:
            raise
        except CordumError as error:
            _log.error("output settings are damaged, results are checked", error=error.message)
            self.enabled = True
        await self.reload()

    async def reload(self) -> None:
        """Read the system document, the policy's word and what is stale. What cannot be read stays as it was."""
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                document = await self._documents.get("system", "default")
        except (CordumError, TimeoutError) as error:
            _log.warning("output settings not read, the last ones stay", error=str(error))
        else:
            self._take(document)
        with suppress(CordumError):  # the last word stays
            told = await self._kernel.output_settings(1.0)
            self._policy, self.checks_errors = told.fail_mode, told.checks_errors
            ERROR_TEXTS.set(told.checks_errors)
            self._has_heard = True
        stale, self._stale = self._stale, set()
        for tenant in stale:
            await self._read_tenant(tenant)

    def _take(self, document: Document | None) -> None:
        self._system = _fail_mode(document, "system")
        flag = _section(document).get("output_policy_enabled")
        enabled = flag if isinstance(flag, bool) else self._settings.enabled
        if enabled != self.enabled:
            _log.info("output policy switched", enabled=enabled)
        self.enabled = enabled

    async def run(self) -> None:
        """Reload on notice and every 30 s, more often until the kernel has told its word."""
        while True:
            await self.reload()
            with suppress(TimeoutError):
                async with asyncio.timeout(_FRESH_S if self._has_heard else _FIRST_S):
                    await self.changed.wait()
            self.changed.clear()


def _section(document: Document | None) -> dict[str, Any]:
    section = document.data.get("scheduler") if document else None
    return section if isinstance(section, dict) else {}


def _fail_mode(document: Document | None, owner: str) -> str:
    value = _section(document).get("output_fail_mode")
    if value in ("", None):
        return ""
    word = str(value)
    if word not in {"open", "closed"}:
        _log.error("scheduler.output_fail_mode is neither open nor closed: closed", owner=owner)
        return "closed"
    return word
