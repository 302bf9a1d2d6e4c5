"""The topic registry as callers read and write it (gateway spec §18, packs spec §11)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cordum._core import is_tenant_id
from cordum.audit import AuditEvent
from cordum.domain.errors import Forbidden, InvalidInput, NotFound
from cordum.domain.topics import CODE, Topic, registered, seeded, topic_key
from cordum.gateway.document_edits import DocumentEdits, Edit
from cordum.gateway.fleet import Fleet
from cordum.gateway.pools import without_topic
from cordum.gateway.routing import SYSTEM, load_routing
from cordum.security.principal import Caller
from cordum.store.config_documents import Document
from cordum.store.topics import SEEDED, TOPICS, is_unseeded
from cordum.store.worker_snapshot import WorkerSnapshots

__all__ = ["TopicEditor"]


@dataclass(frozen=True, slots=True)
class Listing:
    """Registrations a caller sees, and whether there are none at all."""

    items: list[dict[str, Any]]
    is_empty: bool


class TopicEditor:
    """Lists, registers and unregisters topics."""

    def __init__(self, edits: DocumentEdits, workers: WorkerSnapshots) -> None:
        self._edits = edits
        self._workers = workers

    async def list(self, caller: Caller) -> Listing:
        """Return the caller's registrations and those of everybody it does not shadow, by name."""
        documents = self._edits.documents
        routing = await load_routing(documents)
        document = await documents.get(*TOPICS) or Document(*TOPICS)
        fleet = Fleet.of(await self._workers.load(), routing)
        visible: dict[str, Topic] = {}
        for topic in registered(document.data):
            if topic.tenant_id == caller.tenant or (not topic.tenant_id and topic.name not in visible):
                visible[topic.name] = topic
        items = [
            topic.shown | {"active_worker_count": fleet.online(topic.pool)}
            for _, topic in sorted(visible.items())
        ]
        return Listing(items, not document.data)

    async def register(self, body: Mapping[str, Any], caller: Caller) -> tuple[dict[str, Any], bool]:
        """Store a registration; return it and whether the name is new to the caller.

        Raises InvalidInput `TOPIC_SCHEMA_VIOLATION`, Forbidden, NotFound `POOL_NOT_FOUND`, Conflict, Unavailable.
        """
        wanted = Topic.of_body(body)
        routing = await load_routing(self._edits.documents)
        if wanted.pool and wanted.pool not in routing.pools:
            raise NotFound(f"pool `{wanted.pool}` not found", code="POOL_NOT_FOUND")
        is_new, stored = True, wanted

        def change(current: Document) -> Edit:
            nonlocal is_new, stored
            data, meta = dict(current.data), {}
            if is_unseeded(current):
                # Whoever registers the first topic must not lock out those that are routed already.
                data, meta = seeded(routing.mapped), {SEEDED: "pools"}
            stored = wanted.of_tenant(_owner(wanted.name, body, data, caller))
            is_new = not {stored.key, stored.name} & data.keys()
            data[stored.key] = stored.record
            return Edit(data, _event("topic_registered", "INFO", "topic.create", stored, caller), meta)

        await self._edits.edit(TOPICS, change, caller)
        # The registration itself may say where workers without a pool belong.
        fleet = Fleet.of(await self._workers.load(), await load_routing(self._edits.documents))
        return stored.record | {"active_worker_count": fleet.online(stored.pool)}, is_new

    async def unregister(self, name: str, caller: Caller) -> None:
        """Remove the caller's registration, and the routing of a topic nobody registers any more.

        Raises NotFound `TOPIC_NOT_FOUND`, Conflict, Unavailable.
        """
        removed = Topic(name)

        def change(current: Document) -> Edit:
            nonlocal removed
            owned = [topic_key(caller.tenant, name), *([name] if caller.cross_tenant else [])]
            key = next((key for key in owned if key in current.data), None)
            if key is None:
                raise NotFound(f"topic `{name[:256]}` not found", code="TOPIC_NOT_FOUND")
            removed = Topic.of_record(key, current.data[key])
            data = {other: record for other, record in current.data.items() if other != key}
            event = _event("topic_unregistered", "MEDIUM", "topic.delete", removed, caller)
            # What was routed before is not taken over again.
            return Edit(data, event, {SEEDED: current.meta.get(SEEDED, "")})

        written = await self._edits.edit(TOPICS, change, caller)
        if any(topic.name == name for topic in registered(written.data)):
            return
        await self._edits.edit(SYSTEM, lambda current: without_topic(current, name, caller), caller)


def _owner(name: str, body: Mapping[str, Any], data: Mapping[str, Any], caller: Caller) -> str:
    """Return the tenant a record belongs to; blank: everybody. Only cross-tenant callers may choose."""
    asked = body.get("tenant_id")
    if not caller.cross_tenant:
        if asked not in (None, caller.tenant):
            raise Forbidden("access denied: tenant", code="tenant_access_denied")
        return caller.tenant
    if isinstance(asked, str):
        if asked and not is_tenant_id(asked):
            raise InvalidInput("tenant_id: expected a tenant", code=CODE, field="tenant_id")
        return asked
    is_everybodys = name in data and topic_key(caller.tenant, name) not in data
    return "" if is_everybodys else caller.tenant


def _event(kind: str, severity: Any, action: str, topic: Topic, caller: Caller) -> AuditEvent:
    verb = action.rpartition(".")[2]
    return AuditEvent(
        kind,
        severity,
        caller.tenant,
        action,
        identity=caller.effective_principal,
        reason=f"{verb} topic {topic.name}",
        extra={
            "topic_name": topic.name,
            "pack_id": topic.pack_id,
            "actor_id": caller.effective_principal,
            "pool": topic.pool,
            "status": topic.status,
            "topic_tenant": topic.tenant_id,
        },
    )
