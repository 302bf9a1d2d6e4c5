"""Dead letters: pages, single entries, deletion (scheduler spec §13). Entries are written by the job
scripts."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from cordum.store import keys
from cordum.store.index_walk import IndexWalk
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command

__all__ = ["DeadLetterStore", "dead_letter_commands"]

Entry = dict[str, Any]

_WINDOW = 500


def dead_letter_commands(letters: Iterable[tuple[str, str, int]], *, max_size: int) -> list[Command]:
    """Return the updates of `dlq:tenant` sets for (tenant, job_id, now_us)."""
    tenants: dict[str, list[int | str]] = {}
    for tenant, job_id, now_us in letters:
        tenants.setdefault(tenant, []).extend((now_us // 1_000_000, job_id))
    commands: list[Command] = []
    for tenant, pairs in tenants.items():
        key = keys.dlq_tenant(tenant)
        commands += (("ZADD", key, *pairs), ("ZREMRANGEBYRANK", key, 0, -(max_size + 1)))
    return commands


class DeadLetterStore:
    """Repository of dead letters."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._client = jobs.client

    async def page(
        self, tenant: str | None, *, limit: int = 100, cursor: int | None = None
    ) -> tuple[list[Entry], int | None]:
        """Return entries newest first and the next cursor (score <= cursor, Unix seconds; None at the end).

        Members whose entry is gone are removed from the index on the way. Raises Unavailable.
        """
        indexes = [keys.dlq_tenant(tenant)] if tenant is not None else [*map(keys.dlq_index, self._jobs.tags)]
        walk = IndexWalk(self._client, indexes, max_score=cursor, page=limit)
        found: list[Entry] = []
        gone: list[str] = []
        last: int | None = None
        next_cursor: int | None = None
        while next_cursor is None and (batch := await walk.next()):
            entries = await self.get_many([job_id for _, job_id in batch])
            for (score, job_id), entry in zip(batch, entries, strict=True):
                if len(found) >= limit and last is not None and score != last:
                    next_cursor = last - 1
                    break
                if entry is None:
                    gone.append(job_id)
                else:
                    found.append(entry)
                    last = score
        await self._forget(tenant, gone)
        return found, next_cursor

    async def get(self, job_id: str) -> Entry | None:
        """Return one entry, or None. Raises Unavailable."""
        return (await self.get_many((job_id,)))[0]

    async def get_many(self, job_ids: Sequence[str]) -> list[Entry | None]:
        """Return several entries, in order, in one round trip. Raises Unavailable."""
        replies = await self._client.pipeline(
            [("GET", keys.dlq_entry(self._jobs.tag(job_id), job_id)) for job_id in job_ids]
        )
        return [None if raw is None else orjson.loads(raw) for raw in _checked(replies)]

    async def size(self, tenant: str | None = None) -> int:
        """Return how many dead letters there are, of one tenant or of all. Raises Unavailable."""
        indexes = [keys.dlq_tenant(tenant)] if tenant is not None else [*map(keys.dlq_index, self._jobs.tags)]
        return sum(_checked(await self._client.pipeline([("ZCARD", index) for index in indexes])))

    async def forget_expired(self) -> int:
        """Remove index members whose entries are gone; return how many. Raises Unavailable."""
        removed = 0
        for tag in self._jobs.tags:
            ids = [m.decode() for m in await self._client.execute("ZRANGE", keys.dlq_index(tag), 0, -1)]
            for start in range(0, len(ids), _WINDOW):
                window = ids[start : start + _WINDOW]
                here = _checked(
                    await self._client.pipeline([("EXISTS", keys.dlq_entry(tag, i)) for i in window])
                )
                gone = [job_id for job_id, exists in zip(window, here, strict=True) if not exists]
                if gone:
                    removed += int(await self._client.execute("ZREM", keys.dlq_index(tag), *gone))
        return removed

    async def put_poison(self, entry: Entry, *, now_us: int) -> None:
        """Write the entry of a message that could not be processed, and list it for its tenant; there is no job record
        behind it. Raises Unavailable."""
        job_id = str(entry["job_id"])
        tag = self._jobs.tag(job_id)
        commands: list[Command] = [
            ("SET", keys.dlq_entry(tag, job_id), orjson.dumps(entry), "EX", self._jobs.settings.dlq_ttl_s),
            ("ZADD", keys.dlq_index(tag), now_us // 1_000_000, job_id),
        ]
        if tenant := entry.get("tenant"):
            commands += dead_letter_commands(
                [(tenant, job_id, now_us)], max_size=self._jobs.settings.dlq_max_size
            )
        _checked(await self._client.pipeline(commands))

    async def delete(self, job_id: str) -> bool:
        """Remove an entry and its index members; tell whether it was there. Raises Unavailable."""
        entry = await self.get(job_id)
        tag = self._jobs.tag(job_id)
        commands: list[Command] = [
            ("DEL", keys.dlq_entry(tag, job_id)),
            ("ZREM", keys.dlq_index(tag), job_id),
        ]
        if entry is not None and entry.get("tenant"):
            commands.append(("ZREM", keys.dlq_tenant(entry["tenant"]), job_id))
        return bool(_checked(await self._client.pipeline(commands))[0])

    async def _forget(self, tenant: str | None, job_ids: Sequence[str]) -> None:
        commands: list[Command] = [
            ("ZREM", keys.dlq_index(self._jobs.tags[partition]), *ids)
            for partition, ids in self._jobs.by_partition(job_ids).items()
        ]
        if tenant is not None and job_ids:
            commands.append(("ZREM", keys.dlq_tenant(tenant), *job_ids))
        _checked(await self._client.pipeline(commands))


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
