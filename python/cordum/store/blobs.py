"""Payloads behind pointers: contexts and results (protocol spec §10). Keys are literal, workers read and
write them."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from cordum.domain.errors import InvalidInput, Unavailable
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command

__all__ = [
    "BlobStore",
    "content_key",
    "is_of_tenant",
    "key_of_pointer",
    "pointed_key",
    "pointer_to",
    "redacted_key",
    "result_key",
]

_SCHEME = "redis://"
_READABLE = ("ctx:", "res:", "art:", "mem:")
_MAX_KEY_BYTES = 1024
_COPY = re.compile(r"[0-9a-f]{16}")


def pointer_to(key: str) -> str:
    """Return the pointer to a key."""
    return _SCHEME + key


def key_of_pointer(pointer: str) -> str:
    """Return the Redis key a pointer names. Raises InvalidInput unless it is one of the readable kinds."""
    key = pointer.removeprefix(_SCHEME)
    if key == pointer or not key.startswith(_READABLE) or key in _READABLE:
        raise InvalidInput("pointer: expected `redis://` and a ctx, res, art or mem key", field="pointer")
    if len(key.encode()) > _MAX_KEY_BYTES or ".." in key or any(ord(c) <= 32 or ord(c) == 127 for c in key):
        raise InvalidInput("pointer: key is not in the allowed form", field="pointer")
    return key


def result_key(pointer: str, job_id: str) -> str | None:
    """Return the key of a worker's result pointer if it is exactly the result of this job, else None."""
    return keys.result_blob(job_id) if pointer == pointer_to(keys.result_blob(job_id)) else None


def redacted_key(job_id: str, copy: bytes) -> str:
    """Return the key of a masked copy of a job's result (output policy spec §7)."""
    return keys.redacted_blob(job_id, hashlib.sha256(copy).hexdigest()[:16])


def pointed_key(pointer: str, job_id: str) -> str | None:
    """Return the key of a pointer that a check of this job may follow, else None: its result, a masked copy of it,
    or an artifact, whose tenant is still to be compared (output policy spec §6)."""
    own = result_key(pointer, job_id)
    if own is not None:
        return own
    copies = pointer_to(keys.redacted_blob(job_id, ""))
    if pointer.startswith(copies) and _COPY.fullmatch(pointer.removeprefix(copies)):
        return pointer.removeprefix(_SCHEME)
    try:
        key = key_of_pointer(pointer)
    except InvalidInput:
        return None
    return key if key.startswith("art:") else None


def is_of_tenant(metadata: Any, tenant: str) -> bool:
    """Tell whether the stored metadata of an artifact names this tenant."""
    try:
        labels = orjson.loads(metadata or b"{}").get("labels") or {}
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return False
    return isinstance(labels, dict) and labels.get("tenant_id") == tenant


def content_key(pointer: str, job_id: str) -> str:
    """Return the key of what a job's accepted result pointer names; without one, or with another, its own result."""
    return pointed_key(pointer, job_id) or keys.result_blob(job_id)


class BlobStore:
    """Reads and writes payloads. ``data_ttl_s`` is the TTL of contexts and results in seconds."""

    def __init__(self, client: RedisClient, data_ttl_s: int) -> None:
        self._client = client
        self.data_ttl_s = data_ttl_s

    def set_context_command(self, job_id: str, payload: bytes) -> Command:
        """Return the command that stores a job's context."""
        return ("SET", keys.context_blob(job_id), payload, "EX", self.data_ttl_s)

    def keep_commands(self, blob_keys: Iterable[str]) -> list[Command]:
        """Return the commands that start the data TTL of blobs anew (of worker-written results: for the
        first time)."""
        return [("EXPIRE", key, self.data_ttl_s) for key in blob_keys]

    async def set_context(self, job_id: str, payload: bytes) -> str:
        """Store a job's context; return its pointer. Raises Unavailable."""
        await self._client.execute(*self.set_context_command(job_id, payload))
        return pointer_to(keys.context_blob(job_id))

    async def set_many(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """Store payloads by key, in one round trip per node. Raises Unavailable."""
        commands: list[Command] = [("SET", key, payload, "EX", self.data_ttl_s) for key, payload in blobs]
        for reply in await self._client.pipeline(commands):
            if isinstance(reply, Exception):
                raise reply

    async def set_result(self, job_id: str, payload: bytes, *, only_if_absent: bool = False) -> bool:
        """Store a result; with ``only_if_absent`` a worker's output is never replaced. Tell whether it was
        written."""
        condition = ("NX",) if only_if_absent else ()
        key = keys.result_blob(job_id)
        return await self._client.execute("SET", key, payload, "EX", self.data_ttl_s, *condition) is not None

    async def fill_results(self, payloads: Mapping[str, bytes]) -> None:
        """Store results of jobs that have none, in one round trip per node. Raises Unavailable."""
        commands: list[Command] = [
            ("SET", keys.result_blob(job_id), payload, "EX", self.data_ttl_s, "NX")
            for job_id, payload in payloads.items()
        ]
        for reply in await self._client.pipeline(commands) if commands else ():
            if isinstance(reply, Exception):
                raise reply

    async def get(self, key: str) -> bytes | None:
        """Return a payload by key. Raises Unavailable."""
        return (await self.get_many((key,)))[0]

    async def get_many(self, blob_keys: Sequence[str]) -> list[bytes | None]:
        """Return several payloads, in order, in one round trip per node. Raises Unavailable."""
        replies = await self._client.pipeline([("GET", key) for key in blob_keys])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def heads(self, blob_keys: Sequence[str], max_bytes: int) -> list[tuple[bytes, int] | None]:
        """Return the first ``max_bytes`` bytes and the full length of several payloads, in one round trip per node.

        None: the key is gone, empty or holds no payload. Raises Unavailable.
        """
        commands: list[Command] = []
        for key in blob_keys:
            commands += [("GETRANGE", key, 0, max_bytes - 1), ("STRLEN", key)]
        replies = await self._client.pipeline(commands)
        found: list[tuple[bytes, int] | None] = []
        for head, size in zip(replies[::2], replies[1::2], strict=True):
            for reply in (head, size):
                if isinstance(reply, Unavailable):
                    raise reply
            is_payload = isinstance(head, bytes) and isinstance(size, int) and size > 0
            found.append((head, size) if is_payload else None)
        return found

    async def keep(self, blob_keys: Iterable[str]) -> None:
        """Start the data TTL of blobs anew. Raises Unavailable."""
        await self._client.pipeline(self.keep_commands(blob_keys))
