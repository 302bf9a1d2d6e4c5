"""Results that wait for their first check because nobody answered (scheduler spec §11): checked again until an answer
comes. A durable duty of their job, like the later scans.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from cordum.domain.errors import CordumError
from cordum.protocol.cap import JobResult
from cordum.runtime.clock import monotonic_s, now_us
from cordum.store.blobs import content_key
from cordum.store.jobs import JobStore, Record

__all__ = ["Withheld"]

_FIRST_S: Final = 0.5
_LAST_S: Final = 5.0
_BATCH: Final = 128
_NOTED_MAX: Final = 100_000
_READS: Final = 6
_READ_AGAIN_S: Final = 0.1

_log = structlog.get_logger("cordum.scheduler")

CheckAgain = Callable[[Sequence[Record], int | None], Awaitable[None]]
"""Check kept results again, with content up to a size (None: the usual one)."""


def _content_key(record: Record) -> str:
    """Return the key of what a kept result points at: its own content, or an artifact."""
    result = JobResult.FromString(base64.b64decode(record.get("pending_result", "")))
    return content_key(result.result_ptr, record["id"])


class Withheld:
    """Performs the duty `check`."""

    def __init__(self, jobs: JobStore, check: CheckAgain, inline_max_bytes: int, scan_max_bytes: int) -> None:
        self._jobs = jobs
        self._check = check
        self._inline_max_bytes = inline_max_bytes
        self._scan_max_bytes = scan_max_bytes
        self._due_s: dict[str, float] = {}
        self._waits_s: dict[str, float] = {}
        self._pending = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Results that wait here."""
        return len(self._due_s)

    def note(self, job_ids: Sequence[str]) -> None:
        """Check the results of these jobs again in half a second; beyond the bound the sweep brings them."""
        now = monotonic_s()
        for job_id in job_ids:
            if job_id not in self._due_s and len(self._due_s) < _NOTED_MAX:
                self._due_s[job_id] = now + _FIRST_S
                self._waits_s[job_id] = _FIRST_S
        if job_ids:
            self._pending.set()

    async def run(self) -> None:
        """Check what is due, for ever."""
        while True:
            if not self._due_s:
                self._pending.clear()
                await self._pending.wait()
            await asyncio.sleep(max(0.0, min(self._due_s.values()) - monotonic_s()))
            now = monotonic_s()
            due = [job_id for job_id, at in self._due_s.items() if at <= now][:_BATCH]
            try:
                await self._again(due)
            except CordumError as error:
                _log.warning("withheld results not checked", jobs=len(due), error=error.message)
            self._put_off([job_id for job_id in due if job_id in self._due_s])

    def _put_off(self, job_ids: Sequence[str]) -> None:
        now = monotonic_s()
        for job_id in job_ids:
            wait_s = min(_LAST_S, self._waits_s[job_id] * 2)
            self._waits_s[job_id] = wait_s
            self._due_s[job_id] = now + wait_s

    async def _again(self, job_ids: Sequence[str]) -> None:
        await self._jobs.touch_after(job_ids, now_us=now_us())
        records = await self._kept(job_ids)
        sizes = await self._sizes(records)
        small = [record for record in records if sizes[record["id"]] <= self._inline_max_bytes]
        if small:
            await self._check(small, self._inline_max_bytes)
        # One at a time: each may be as large as a scan may be.
        for record in records:
            if sizes[record["id"]] > self._inline_max_bytes:
                await self._check([record], self._scan_max_bytes)
        await self._kept([record["id"] for record in records])

    async def _kept(self, job_ids: Sequence[str]) -> list[Record]:
        """Return the records that still wait; forget the others."""
        found = await self._jobs.get_many(job_ids) if job_ids else []
        kept = [record for record in found if record is not None and record.get("withheld")]
        for job_id in set(job_ids) - {record["id"] for record in kept}:
            self._due_s.pop(job_id, None)
            self._waits_s.pop(job_id, None)
        return kept

    async def _sizes(self, records: Sequence[Record]) -> dict[str, int]:
        """Return the sizes of results; one whose key is not there may still be replicating (protocol spec §10)."""
        kept = {record["id"]: _content_key(record) for record in records}
        sizes = dict.fromkeys(kept, 0)
        for attempt in range(_READS):
            missing = [job_id for job_id, size in sizes.items() if not size]
            if not missing:
                break
            if attempt:
                await asyncio.sleep(_READ_AGAIN_S)
            replies = await self._jobs.client.pipeline([("STRLEN", kept[name]) for name in missing])
            sizes |= {
                name: reply for name, reply in zip(missing, replies, strict=True) if isinstance(reply, int)
            }
        return sizes
