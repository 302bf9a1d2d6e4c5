"""The hash chain of a tenant's audit events in Redis (security spec §19.3).

An event is hashed together with its number and the hash of its predecessor, so that a change, a gap, a swap or a cut
tail shows. With a key, each event and the head also carry an HMAC, which whoever can write to Redis cannot make.
"""

import asyncio
import hashlib
import hmac
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cordum.audit.events import AuditEvent, canonical
from cordum.domain.errors import Conflict, CordumError, Unavailable
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import script

__all__ = ["AuditChain", "ChainKeys", "StoredEvent"]

_TRIES: Final = 1_024
_PAUSE_MIN_S: Final = 50e-6
_PAUSE_MAX_S: Final = 4e-3
_PAGE: Final = 256
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ChainKeys:
    """The key that protects new events (none when empty) and older ones, by lower-case id, that still verify."""

    key: bytes = b""
    key_id: str = ""
    older: Mapping[str, bytes] = field(default_factory=dict)

    def by_id(self, key_id: str) -> bytes | None:
        """Return the key of an event."""
        if self.key and key_id.lower() == self.key_id.lower():
            return self.key
        return self.older.get(key_id.lower())

    def all(self) -> list[bytes]:
        """Return every key, the newest first."""
        return [key for key in (self.key, *self.older.values()) if key]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One entry of the stream; ``fields`` is None when it does not hold a JSON object."""

    stream_id: str
    fields: dict[str, Any] | None


class AuditChain:
    """Appends to and reads the chains of all tenants."""

    def __init__(self, client: RedisClient, chain_keys: ChainKeys | None = None) -> None:
        self._client = client
        self.keys = chain_keys or ChainKeys()

    async def append(self, event: AuditEvent, *, outbox: str = "") -> bool:
        """Append an event; False when its id is in the chain already. See `append_fields`."""
        return await self.append_fields(event.fields(), outbox=outbox)

    async def append_fields(self, event: Mapping[str, Any], *, outbox: str = "") -> bool:
        """Append the members of an event; ``outbox`` names the place that keeps the event until it is here, whose last
        event is known for ever and not for 24 h alone.

        Raises Unavailable `audit_unavailable` when it is not certain that the event is in the chain.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._append(dict(event), outbox)
        except (CordumError, TimeoutError) as error:
            raise Unavailable("audit event not written", code="audit_unavailable") from error

    async def _append(self, event: dict[str, Any], outbox: str) -> bool:
        tenant = event["tenant_id"]
        head = await self.head(tenant)
        for _ in range(_TRIES):
            seq, previous, _ = parts_of_head(head)
            stored = self._linked(event, seq + 1, previous)
            new_head = self._head(tenant, seq + 1, stored["event_hash"])
            outcome, value = await self._client.execute(
                *script("audit_append").command(
                    (
                        keys.audit_head(tenant),
                        keys.audit_chain(tenant),
                        keys.audit_seen(tenant),
                        keys.audit_sources(tenant),
                    ),
                    (
                        *(head, new_head, seq + 1, canonical(stored), event["event_id"]),
                        *(now_us() // 1_000, outbox),
                    ),
                )
            )
            if outcome != b"conflict":
                return bool(outcome == b"appended")
            head = value.decode("utf-8", "replace")
            await asyncio.sleep(random.uniform(_PAUSE_MIN_S, _PAUSE_MAX_S))  # noqa: S311 — jitter
        raise Conflict("audit chain: somebody else was always first")

    def _linked(self, event: Mapping[str, Any], seq: int, previous: str) -> dict[str, Any]:
        linked = {**event, "seq": seq}
        if previous:
            linked["prev_hash"] = previous
        if self.keys.key:
            linked["key_id"] = self.keys.key_id
        form = canonical(linked)
        linked["event_hash"] = hashlib.sha256(form).hexdigest()
        if self.keys.key:
            linked["hmac"] = mac_of(self.keys.key, form)
        return linked

    def _head(self, tenant: str, seq: int, event_hash: str) -> str:
        mac = mac_of(self.keys.key, head_text(tenant, seq, event_hash)) if self.keys.key else ""
        return f"{seq}:{event_hash}:{mac}"

    async def head(self, tenant: str) -> str:
        """Return `<seq>:<event hash>:<mac>`; empty before the first event. Raises Unavailable."""
        stored = await self._client.execute("GET", keys.audit_head(tenant))
        return stored.decode("utf-8", "replace") if stored is not None else ""

    async def newest(self, tenant: str, limit: int, before: str = "") -> AsyncIterator[StoredEvent]:
        """Yield at most ``limit`` events, newest first, older than the stream id ``before``. Raises Unavailable."""
        end, left = f"({before}" if before else "+", limit
        while left > 0:
            page = await self._client.execute(
                "XREVRANGE", keys.audit_chain(tenant), end, "-", "COUNT", min(_PAGE, left)
            )
            for entry in page:
                yield _stored(entry)
            if len(page) < min(_PAGE, left):
                return
            left -= len(page)
            end = f"({page[-1][0].decode()}"

    async def oldest(
        self, tenant: str, limit: int, since_ms: int | None = None
    ) -> AsyncIterator[StoredEvent]:
        """Yield at most ``limit`` events in chain order, from ``since_ms`` on. Raises Unavailable."""
        start, left = "-" if since_ms is None else str(since_ms), limit
        while left > 0:
            page = await self._client.execute(
                "XRANGE", keys.audit_chain(tenant), start, "+", "COUNT", min(_PAGE, left)
            )
            for entry in page:
                yield _stored(entry)
            if len(page) < min(_PAGE, left):
                return
            left -= len(page)
            start = f"({page[-1][0].decode()}"


def mac_of(key: bytes, text: bytes) -> str:
    """Return the hex HMAC-SHA-256."""
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def head_text(tenant: str, seq: int, event_hash: str) -> bytes:
    """Return what the MAC of a head covers."""
    return f"{tenant}|{seq}|{event_hash}".encode()


def parts_of_head(head: str) -> tuple[int, str, str]:
    """Return number, hash and MAC of a head. Raises CordumError when it is damaged: nothing may be appended then."""
    if not head:
        return 0, "", ""
    seq, _, rest = head.partition(":")
    event_hash, _, mac = rest.partition(":")
    if not (seq.isascii() and seq.isdigit() and len(seq) < 16 and len(event_hash) == 64):
        raise CordumError("the head of the audit chain is damaged", code="audit_unavailable")
    return int(seq), event_hash, mac


def _stored(entry: list[Any]) -> StoredEvent:
    stream_id, flat = entry[0].decode(), entry[1]
    values = {flat[i]: flat[i + 1] for i in range(0, len(flat) - 1, 2)}
    try:
        event = orjson.loads(values.get(b"event", b""))
    except orjson.JSONDecodeError:
        event = None
    return StoredEvent(stream_id, event if isinstance(event, dict) else None)
