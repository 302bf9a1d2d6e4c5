"""Workers as other processes see them: the registry snapshot and remembered handshakes (scheduler spec
§18, protocol spec §11)."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from cordum.store import keys
from cordum.store.connection import RedisClient

__all__ = ["WorkerSnapshots"]

_TTL_S = 86_400


class WorkerSnapshots:
    """Repository of the worker snapshot and handshakes; both live 24 hours."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def save(self, snapshot: Mapping[str, Any]) -> None:
        """Write the snapshot. Raises Unavailable."""
        await self._client.execute("SET", keys.WORKERS_SNAPSHOT, orjson.dumps(snapshot), "EX", _TTL_S)

    async def load(self) -> dict[str, Any] | None:
        """Return the last snapshot, None when there is none or it is not readable. Raises Unavailable."""
        return _object(await self._client.execute("GET", keys.WORKERS_SNAPSHOT))

    async def note_alive(self, worker_ids: Sequence[str], now_s: float, ttl_s: float) -> None:
        """Note heartbeats of workers; those silent for longer than ``ttl_s`` go. Raises Unavailable."""
        pairs = [part for worker_id in worker_ids for part in (f"{now_s:.3f}", worker_id)]
        replies = await self._client.pipeline(
            [
                ("ZADD", keys.WORKERS_COUNT, *pairs),
                ("ZREMRANGEBYSCORE", keys.WORKERS_COUNT, "-inf", f"({now_s - ttl_s:.3f}"),
                ("EXPIRE", keys.WORKERS_COUNT, _TTL_S),
            ]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply

    async def save_handshake(self, worker_id: str, handshake: Mapping[str, Any]) -> None:
        """Remember a worker's handshake: ready_topics, sdk_version, at. Raises Unavailable."""
        key = keys.worker_handshake(worker_id)
        await self._client.execute("SET", key, orjson.dumps(handshake), "EX", _TTL_S)

    async def handshakes(self, worker_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the remembered handshakes of workers, in one round trip per node. Raises Unavailable."""
        replies = await self._client.pipeline([("GET", keys.worker_handshake(w)) for w in worker_ids])
        found: dict[str, dict[str, Any]] = {}
        for worker_id, reply in zip(worker_ids, replies, strict=True):
            if isinstance(reply, Exception):
                raise reply
            handshake = _object(reply)
            if handshake is not None:
                found[worker_id] = handshake
        return found


def _object(raw: bytes | None) -> dict[str, Any] | None:
    """Read a JSON object. Anything else counts as absent: these records are hints that living workers
    rewrite."""
    if raw is None:
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
