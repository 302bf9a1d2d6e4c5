"""Post-commit duties: what a crash left undone is found in `job:after` and done again (scheduler spec
§31.2)."""

from collections.abc import Sequence

import structlog

from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.domain.errors import CordumError
from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from cordum.scheduler.packets import accepted_result, cancel_notice, dead_letter_event
from cordum.scheduler.side_writes import SideWrites
from cordum.store import keys
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore, Record
from cordum.store.schedule import overdue

_log = structlog.get_logger("cordum.scheduler")
_AGE_US = 10_000_000
_BATCH = 200


class Duties:
    """Performs the duties named in a record's `after` field."""

    def __init__(
        self,
        jobs: JobStore,
        letters: DeadLetterStore,
        bus: Bus,
        publisher: Publisher,
        side_writes: SideWrites,
    ) -> None:
        self._jobs = jobs
        self._letters = letters
        self._bus = bus
        self._publisher = publisher
        self._side = side_writes

    async def sweep(self) -> int:
        """Perform duties older than 10 s; return for how many jobs."""
        ids = await overdue(self._jobs, keys.job_after, before_us=now_us() - _AGE_US, limit=_BATCH)
        await self.perform(ids)
        return len(ids)

    async def perform(self, job_ids: Sequence[str]) -> None:
        """Publish what is due for these jobs, then clear the duties. Idempotent: consumers key on the
        message's identity."""
        for start in range(0, len(job_ids), _BATCH):
            await self._perform(job_ids[start : start + _BATCH])

    async def _perform(self, job_ids: Sequence[str]) -> None:
        records = await self._jobs.get_many(job_ids)
        messages: list[OutMessage] = []
        owners: list[str] = []
        for job_id, record in zip(job_ids, records, strict=True):
            if record is None or not record.get("after"):
                self._side.duties_done([job_id])
                continue
            for message in await self._messages(record):
                messages.append(message)
                owners.append(job_id)
            self._side.results_kept([keys.result_blob(job_id)])
            tenant = record.get("tenant", "default")
            self._side.tenants([(tenant, job_id, record["state"] == "RETRYING", False)])
            if "dlq" in record["after"].split(","):
                self._side.dead_letters([(tenant, job_id)])
        outcomes = await self._publisher.publish_burst(messages, atomic=True)
        failed = {owner for owner, outcome in zip(owners, outcomes, strict=True) if not outcome.ok}
        done = [
            (record["id"], int(record["rev"]))
            for record in records
            if record is not None and record.get("after") and record["id"] not in failed
        ]
        # What the duties noted must be stored before the duties are forgotten.
        await self._side.flush()
        await self._jobs.clear_after(done)

    async def _messages(self, record: Record) -> list[OutMessage]:
        duties = record["after"].split(",")
        entry = await self._letters.get(record["id"]) or {}
        messages: list[OutMessage] = []
        if "dlq" in duties:
            messages.append(dead_letter_event(record, entry))
        if "result" in duties:
            messages.append(accepted_result(record, str(entry.get("reason_code", ""))))
        if "cancel" in duties:
            await self._notify_cancel(record)
        return messages

    async def _notify_cancel(self, record: Record) -> None:
        try:
            await self._bus.publish_core(subjects.CANCEL, cancel_notice(record))
        except CordumError as error:
            _log.warning("cancel notice not sent", job_id=record["id"], error=str(error))
