"""Changes of configuration documents that are announced and audited.

The event of a write is stored in the document together with the write and then appended to the audit chain; should
that fail, the next write of the document does it first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from cordum.audit import AuditChain, AuditEvent
from cordum.bus.connection import Bus
from cordum.domain.errors import Conflict, CordumError
from cordum.gateway.packets import config_changed
from cordum.protocol import subjects
from cordum.runtime.clock import rfc3339
from cordum.security.principal import Caller
from cordum.store.boundary import BoundaryReader
from cordum.store.config_documents import ConfigDocuments, Document
from cordum.store.connection import RedisClient
from cordum.store.effective_config import EffectiveConfigs

__all__ = ["EVENT", "DocumentEdits", "Edit", "announce"]

EVENT: Final = "_audit_event"
"""Member of a document's meta that holds the event of its last write."""
_TRIES: Final = 5

_log = structlog.get_logger("cordum.gateway")

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Edit:
    """What a document becomes, and the event that tells of it."""

    data: dict[str, Any]
    event: AuditEvent
    meta: Mapping[str, Any] = field(default_factory=dict)


class DocumentEdits:
    """Reads, changes and writes documents, tells everybody, and records it."""

    def __init__(
        self,
        redis: RedisClient,
        bus: Bus,
        audit: AuditChain,
        configs: EffectiveConfigs,
        boundary: BoundaryReader,
    ) -> None:
        self.documents = ConfigDocuments(redis)
        self._bus = bus
        self._audit = audit
        self._configs = configs
        self._boundary = boundary

    async def edit(self, name: Name, change: Callable[[Document], Edit | None], caller: Caller) -> Document:
        """Change a document; ``change`` gets what is stored (revision 0: nothing) and returns None to leave it.

        It is called again when somebody else was first. Raises Conflict when that happens too often, Unavailable, and
        what ``change`` raises; nothing is then stored.
        """
        for _ in range(_TRIES):
            current = await self.documents.get(*name) or Document(*name)
            edit = change(current)
            if edit is None:
                return current
            await self._settle(current)
            event = edit.event.fields()
            meta = {**current.meta, **edit.meta, "updated_by": caller.effective_principal, EVENT: event}
            try:
                written = await self.documents.put(
                    *name, edit.data, expected_revision=current.revision, updated_at=rfc3339(), meta=meta
                )
            except Conflict:
                continue
            await self._finish(name, event)
            return written
        raise Conflict("config update conflict — retry", code="CONFIG_VERSION_CONFLICT")

    async def _settle(self, current: Document) -> None:
        event = current.meta.get(EVENT)
        if isinstance(event, Mapping):
            await self._audit.append_fields(event)

    async def _finish(self, name: Name, event: Mapping[str, Any]) -> None:
        self._configs.drop()
        self._boundary.drop()
        await announce(self._bus, name)
        try:
            await self._audit.append_fields(event)
        except CordumError as error:
            _log.error("audit event not in the chain yet", reason=error.message, document="/".join(name))


async def announce(bus: Bus, name: Name) -> None:
    """Tell everybody that a document changed; who does not hear of it polls."""
    try:
        await bus.publish_core(subjects.CONFIG_CHANGED, config_changed(*name))
    except CordumError as error:
        _log.error("configuration change not announced", reason=error.message, document="/".join(name))
