"""Worker pools in the stored pools section: life cycle, capabilities, topics (gateway spec §19, scheduler spec §18)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cordum.audit import AuditEvent
from cordum.domain.errors import Conflict, InvalidInput, NotFound
from cordum.domain.topics import is_pool_name, is_topic_name, word_list
from cordum.gateway.document_edits import DocumentEdits, Edit
from cordum.gateway.fleet import Fleet
from cordum.gateway.routing import SYSTEM, Routing, load_routing, read_pools
from cordum.runtime.clock import rfc3339
from cordum.security.principal import Caller
from cordum.store.config_documents import Document
from cordum.store.jobs import JobStore
from cordum.store.schedule import count_waiting
from cordum.store.worker_snapshot import WorkerSnapshots

__all__ = ["PoolEditor", "Section", "mutation", "retired", "without_topic"]

CODE: Final = "POOL_INVALID_CONFIG"
STATUSES: Final = ("active", "draining", "inactive")
DRAIN_DEFAULT_S: Final = 300
DRAIN_MAX_S: Final = 3_600
_DESCRIPTION_MAX: Final = 1_000
_AGENTS_SHOWN: Final = 100
_DRAIN: Final = ("drain_started_at", "drain_timeout_seconds")

Entry = dict[str, Any]


@dataclass(slots=True)
class Section:
    """The pools section of the system document, to be changed and written back."""

    topics: dict[str, list[str]]
    pools: dict[str, Entry]

    @classmethod
    def of(cls, document: Document) -> "Section":
        """Read it; what is not there is empty. Raises CordumError when it is none."""
        section = read_pools(document.data).model_dump(mode="json", exclude_unset=True)
        return cls(section.get("topics", {}), section.get("pools", {}))

    def has(self, pool: str) -> bool:
        """Tell whether a pool exists: by its own entry, or because a topic names it."""
        return pool in self.pools or any(pool in target for target in self.topics.values())

    def entry(self, pool: str) -> Entry:
        """Return the entry of a pool, to be changed. Raises NotFound."""
        if not self.has(pool):
            raise NotFound(f"pool `{pool[:128]}` not found", code="POOL_NOT_FOUND")
        return self.pools.setdefault(pool, {})

    def unmap(self, topic: str, pool: str) -> bool:
        """Take a pool off a topic; a topic without pool is not routed any more. Tell whether it was there."""
        left = [name for name in self.topics.get(topic, []) if name != pool]
        was_there = len(left) != len(self.topics.get(topic, []))
        if left:
            self.topics[topic] = left
        else:
            self.topics.pop(topic, None)
        return was_there

    def edit(self, document: Document, action: str, subject: str, caller: Caller, **extra: str) -> Edit:
        """Return the write that stores the section."""
        data = document.data | {"pools": {"topics": self.topics, "pools": self.pools}}
        event = AuditEvent(
            "system.config",
            "MEDIUM",
            caller.tenant,
            action,
            identity=caller.effective_principal,
            reason=f"{action} {subject}",
            extra={"pool": subject, "revision": str(document.revision + 1), "role": caller.role, **extra},
        )
        return Edit(data, event)


def mutation(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pool as its changes are answered."""
    shown = {"name": name, "status": entry.get("status") or "active", "requires": entry.get("requires") or []}
    return shown | {field: entry[field] for field in ("description", *_DRAIN) if entry.get(field)}


def without_topic(document: Document, topic: str, caller: Caller) -> Edit | None:
    """Return the write that takes a topic out of the routing; None when it is not routed."""
    section = Section.of(document)
    if section.topics.pop(topic, None) is None:
        return None
    return section.edit(document, "pool.topic.remove", "", caller, topic_name=topic)


def retired(document: Document, pools: set[str], caller: Caller) -> Edit | None:
    """Return the write that makes draining pools inactive; None when none of them drains any more."""
    section = Section.of(document)
    drained = [name for name in sorted(pools) if (section.pools.get(name) or {}).get("status") == "draining"]
    for name in drained:
        _set_status(section.pools[name], "inactive")
    return section.edit(document, "pool.inactive", ",".join(drained), caller) if drained else None


class PoolEditor:
    """Lists and changes pools."""

    def __init__(self, edits: DocumentEdits, workers: WorkerSnapshots, jobs: JobStore) -> None:
        self._edits = edits
        self._workers = workers
        self._jobs = jobs

    async def view(self) -> tuple[Routing, Fleet]:
        """Return the pools and their workers. Raises Unavailable, CordumError for broken documents."""
        routing = await load_routing(self._edits.documents)
        return routing, Fleet.of(await self._workers.load(), routing)

    async def create(self, name: str, body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Create a pool. Raises InvalidInput, Conflict `POOL_NAME_CONFLICT`."""
        if not is_pool_name(name):
            raise _invalid("name: expected 3 to 63 of a-z, 0-9 and single `-`, no `-` at the ends", "name")
        wanted: Entry = {"requires": [], "status": "active"} | _fields(body)

        def change(section: Section) -> Entry:
            if section.has(name):
                raise Conflict(f"pool `{name}` exists already", code="POOL_NAME_CONFLICT")
            section.pools[name] = dict(wanted)
            return section.pools[name]

        return mutation(name, await self._change(change, "pool.create", name, caller))

    async def update(self, name: str, body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Change what the body names. Raises InvalidInput, NotFound."""
        fields, status = _fields(body), body.get("status")
        if status is not None and status not in STATUSES:
            raise _invalid(f"status: expected one of {', '.join(STATUSES)}", "status")

        def change(section: Section) -> Entry:
            entry = section.entry(name)
            entry |= fields
            if status is not None:
                _set_status(entry, status)
            return entry

        return mutation(name, await self._change(change, "pool.update", name, caller))

    async def drain(self, name: str, body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Give a pool no new jobs; it becomes inactive when its jobs are done. Raises InvalidInput, NotFound."""
        timeout_s = body.get("timeout_seconds") or DRAIN_DEFAULT_S
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int) or not 0 < timeout_s <= DRAIN_MAX_S:
            raise _invalid(f"timeout_seconds: expected 1 to {DRAIN_MAX_S}", "timeout_seconds")

        def change(section: Section) -> Entry:
            entry = section.entry(name)
            if entry.get("status") != "inactive":
                _set_status(entry, "draining")
                entry["drain_timeout_seconds"] = timeout_s
            return entry

        return mutation(name, await self._change(change, "pool.drain", name, caller))

    async def delete(self, name: str, caller: Caller, *, force: bool) -> None:
        """Delete a pool nobody uses; ``force`` deletes an inactive one in any case.

        Raises NotFound, Conflict `POOL_IN_USE`.
        """
        routing, fleet = await self.view()
        queued = await count_waiting(self._jobs, name) + fleet.active_jobs(name)
        agents = [str(entry["worker_id"]) for entry in fleet.workers_of(name)]
        registrations = [topic for topic, pools in routing.registered.items() if name in pools]

        def change(section: Section) -> Entry:
            status = section.entry(name).get("status") or "active"
            mapped = [topic for topic, target in section.topics.items() if name in target]
            is_used = bool(queued or agents or mapped or registrations)
            if is_used and not (force and status == "inactive"):
                used = {"pool": name, "pool_status": status, "queued_jobs": queued}
                used |= {"agent_ids": agents[:_AGENTS_SHOWN], "topics": sorted({*mapped, *registrations})}
                raise Conflict(f"pool `{name}` is in use", code="POOL_IN_USE", details=used)
            for topic in mapped:
                section.unmap(topic, name)
            return section.pools.pop(name)

        await self._change(change, "pool.delete", name, caller)

    async def map_topic(self, name: str, topic: str, caller: Caller) -> None:
        """Let a pool serve a topic, besides those that do already. Raises InvalidInput, NotFound."""
        if not is_topic_name(topic):
            raise _invalid(f"topic must match job.* pattern: `{topic[:256]}`", "topic")

        def change(section: Section) -> Entry | None:
            entry, target = section.entry(name), section.topics.setdefault(topic, [])
            if name in target:
                return None
            target.append(name)
            return entry

        await self._change(change, "pool.topic.add", name, caller, topic_name=topic)

    async def unmap_topic(self, name: str, topic: str, caller: Caller) -> None:
        """Let a pool serve a topic no more. Raises NotFound."""

        def change(section: Section) -> Entry:
            entry = section.entry(name)
            if not section.unmap(topic, name):
                raise NotFound(f"topic `{topic[:256]}` is not served by the pool", code="TOPIC_NOT_FOUND")
            return entry

        await self._change(change, "pool.topic.remove", name, caller, topic_name=topic)

    async def _change(
        self, change: Callable[[Section], Entry | None], action: str, name: str, caller: Caller, **extra: str
    ) -> Entry:
        result: Entry = {}

        def edit(document: Document) -> Edit | None:
            nonlocal result
            section = Section.of(document)
            entry = change(section)
            if entry is None:
                return None
            result = entry
            return section.edit(document, action, name, caller, **extra)

        try:
            await self._edits.edit(SYSTEM, edit, caller)
        except Conflict as error:
            if error.code != "CONFIG_VERSION_CONFLICT":
                raise
            raise Conflict("pool update conflict — retry", code="POOL_VERSION_CONFLICT") from error
        return result


def _fields(body: Mapping[str, Any]) -> Entry:
    """Return what a body says of a pool besides its status. Raises InvalidInput."""
    fields: Entry = {}
    if body.get("requires") is not None:
        fields["requires"] = list(word_list(body["requires"], "requires", CODE))
    description = body.get("description")
    if description is not None:
        if not isinstance(description, str) or len(description) > _DESCRIPTION_MAX:
            raise _invalid(f"description: expected at most {_DESCRIPTION_MAX} characters", "description")
        fields["description"] = description
    return fields


def _set_status(entry: Entry, status: str) -> None:
    """Move a pool; a drain that runs goes on."""
    if status == "draining" and entry.get("status") == "draining":
        return
    for field in _DRAIN:
        entry.pop(field, None)
    entry["status"] = status
    if status == "draining":
        entry |= {"drain_started_at": rfc3339(), "drain_timeout_seconds": DRAIN_DEFAULT_S}


def _invalid(message: str, field: str) -> InvalidInput:
    return InvalidInput(message, code="POOL_INVALID_CONFIG", field=field)
