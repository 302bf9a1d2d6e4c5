"""Keys that show which processes live (scheduler spec §1)."""

from collections.abc import Mapping
from typing import Any

import orjson

from cordum.store import keys
from cordum.store.connection import RedisClient

__all__ = ["Instances"]

_TTL_S = 15


class Instances:
    """The instance key of one process: 15 s, to be refreshed by `beat` about every 5 s."""

    def __init__(
        self, client: RedisClient, service: str, instance_id: str, record: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._key = keys.instance(service, instance_id)
        self._value = orjson.dumps({"id": instance_id, "service": service, **record})

    async def beat(self) -> None:
        """Show that this process lives. Raises Unavailable."""
        await self._client.execute("SET", self._key, self._value, "EX", _TTL_S)

    async def leave(self) -> None:
        """Remove the key at a clean stop. Raises Unavailable."""
        await self._client.execute("DEL", self._key)

    async def is_alive(self, service: str, instance_id: str) -> bool:
        """Tell whether another process's key has not expired. Raises Unavailable."""
        return bool(await self._client.execute("EXISTS", keys.instance(service, instance_id)))
