"""The decision log: per tenant a Redis stream of compact column segments (policy spec §19.5, decision 0005).

One command stores thousands of decisions. Segments are opaque here; `cordum._core` writes and reads them.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command, script

__all__ = ["DecisionLog", "StoredSegment", "append_command"]

SLACK_MS: Final = 60_000
"""A segment is stored after its decisions, under the clock of another machine."""
_FIRST_CHUNK: Final = 16
_CHUNK_MAX: Final = 1_024
_CHUNK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment and its stream id."""

    id: str
    data: bytes


def append_command(
    tenant: str, segment: bytes, rows: int, *, now_ms: int, ttl_s: int, max_bytes: int
) -> Command:
    """Return the command that appends a segment and drops what is older than ``ttl_s`` or above ``max_bytes``."""
    return script("decision_append").command(
        (keys.decision_log(tenant), keys.decision_log_size(tenant)),
        (segment, rows, now_ms - ttl_s * 1_000, max_bytes, ttl_s),
    )


class DecisionLog:
    """Reader of the log."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def newest_first(
        self, tenant: str, *, since_us: int | None = None, until_us: int | None = None, last_id: str = ""
    ) -> AsyncIterator[list[StoredSegment]]:
        """Yield the segments that may hold decisions of a time range, in chunks of about 4 MiB, newest first.

        ``last_id`` starts at that segment, inclusive. Raises Unavailable.
        """
        end = last_id or (str(until_us // 1_000 + SLACK_MS) if until_us is not None else "+")
        start = str(max(0, since_us // 1_000 - SLACK_MS)) if since_us is not None else "-"
        count = _FIRST_CHUNK
        while True:
            entries = await self._client.execute(
                "XREVRANGE", keys.decision_log(tenant), end, start, "COUNT", count
            )
            if not entries:
                return
            chunk = [StoredSegment(entry_id.decode(), fields[3]) for entry_id, fields in entries]
            yield chunk
            if len(chunk) < count:
                return
            end = f"({chunk[-1].id}"
            mean = max(1, sum(len(segment.data) for segment in chunk) // len(chunk))
            count = max(1, min(_CHUNK_MAX, count * 4, _CHUNK_BYTES // mean))
