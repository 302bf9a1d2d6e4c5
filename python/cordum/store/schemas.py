"""The schema registry (packs spec §6). Ids are global; a schema's `$id` is an alias other schemas may refer to.

The keys of a schema lie in different slots. They are written so that a crash in between leaves a schema without alias
or index entry at worst, which writing or deleting it again mends.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from cordum.domain.errors import Conflict
from cordum.store import keys
from cordum.store.connection import RedisClient

__all__ = ["SCHEMAS_MAX", "SchemaStore", "alias_of"]

SCHEMAS_MAX: Final = 10_000


def alias_of(text: bytes | None) -> str:
    """Return the `$id` (draft 4: `id`) of a stored schema without its fragment; empty when it has none."""
    try:
        schema: Any = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:
        return ""
    value = schema.get("$id") or schema.get("id") if isinstance(schema, dict) else None
    return value.partition("#")[0] if isinstance(value, str) and "://" in value else ""


class SchemaStore:
    """Repository of schemas: `schema:<id>`, `schema:url:<$id>`, `schema:index`. No TTL: they live until deleted."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def put(self, schema_id: str, text: bytes, *, now_us: int) -> None:
        """Store or replace a schema. Raises Conflict when its `$id` belongs to another one, Unavailable."""
        alias, before = alias_of(text), alias_of(await self.get(schema_id))
        owner = await self._client.execute("GET", keys.schema_url(alias)) if alias else None
        if owner is not None and owner.decode() != schema_id:
            raise Conflict(f"`$id` belongs to schema `{owner.decode()}`", code="CONFIG_SCHEMA_VIOLATION")
        await self._client.execute("SET", keys.schema(schema_id), text)
        if alias:
            await self._client.execute("SET", keys.schema_url(alias), schema_id)
        if before and before != alias:
            await self._client.execute("DEL", keys.schema_url(before))
        await self._client.execute("ZADD", keys.SCHEMA_INDEX, now_us, schema_id)

    async def get(self, schema_id: str) -> bytes | None:
        """Return the text of a schema. Raises Unavailable."""
        text: bytes | None = await self._client.execute("GET", keys.schema(schema_id))
        return text

    async def newest(self, limit: int) -> list[str]:
        """Return ids, newest first. Raises Unavailable."""
        found = await self._client.execute("ZREVRANGE", keys.SCHEMA_INDEX, 0, limit - 1)
        return [schema_id.decode() for schema_id in found]

    async def count(self) -> int:
        """Return the number of schemas. Raises Unavailable."""
        return int(await self._client.execute("ZCARD", keys.SCHEMA_INDEX))

    async def delete(self, schema_id: str) -> bool:
        """Delete a schema; False when there is none. Raises Unavailable."""
        alias = alias_of(await self.get(schema_id))
        await self._client.execute("ZREM", keys.SCHEMA_INDEX, schema_id)
        if alias and await self._client.execute("GET", keys.schema_url(alias)) == schema_id.encode():
            await self._client.execute("DEL", keys.schema_url(alias))
        return bool(await self._client.execute("DEL", keys.schema(schema_id)))

    async def texts(self, schema_ids: Sequence[str]) -> list[bytes | Exception | None]:
        """Return several texts in one round trip per node: None for an absent one, the error for an unread one."""
        return await self._client.pipeline([("GET", keys.schema(schema_id)) for schema_id in schema_ids])

    async def behind_url(self, url: str) -> bytes | None:
        """Return the text of the schema whose `$id` is ``url``. Raises Unavailable."""
        schema_id = await self._client.execute("GET", keys.schema_url(url.partition("#")[0]))
        return None if schema_id is None else await self.get(schema_id.decode())

    async def stamp(self) -> tuple[Any, ...]:
        """Return what changes whenever some schema does. Raises Unavailable."""
        commands = [("ZCARD", keys.SCHEMA_INDEX), ("ZREVRANGE", keys.SCHEMA_INDEX, 0, 0, "WITHSCORES")]
        replies = await self._client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return (replies[0], *replies[1])
