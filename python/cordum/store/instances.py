"""Keys that show which processes live (scheduler spec §1)."""

from collections.abc import Mapping
from typing import Any

import orjson

from cordum.store import keys
from cordum.store.connection import RedisClient

__all__ = ["Instances"]

_TTL_S = 15
_LIST_TTL_S = 3_600
_MAX = 1_000


class Instances:
    """The instance key of one process: 15 s, to be refreshed by `beat` about every 5 s."""

    def __init__(
        self, client: RedisClient, service: str, instance_id: str, record: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._id = instance_id
        self._list = keys.instances(service)
        self._key = keys.instance(service, instance_id)
        self._value = orjson.dumps({"id": instance_id, "service": service, **record})

    async def beat(self, now_s: float) -> list[str]:
        """Show that this process lives; return all that do, this one included, sorted. Raises Unavailable."""
        replies = await self._client.pipeline(
            [
                ("SET", self._key, self._value, "EX", _TTL_S),
                ("ZADD", self._list, f"{now_s:.3f}", self._id),
                ("ZREMRANGEBYSCORE", self._list, "-inf", f"({now_s - _TTL_S:.3f}"),
                ("ZRANGE", self._list, 0, _MAX),
                ("EXPIRE", self._list, _LIST_TTL_S),
            ]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return sorted(member.decode() for member in replies[3])

    async def leave(self) -> None:
        """Remove the key at a clean stop. Raises Unavailable."""
        for reply in await self._client.pipeline([("DEL", self._key), ("ZREM", self._list, self._id)]):
            if isinstance(reply, Exception):
                raise reply

    async def is_alive(self, service: str, instance_id: str) -> bool:
        """Tell whether another process's key has not expired. Raises Unavailable."""
        return bool(await self._client.execute("EXISTS", keys.instance(service, instance_id)))
