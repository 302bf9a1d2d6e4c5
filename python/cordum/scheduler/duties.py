"""Post-commit duties: what a crash left undone is found in `job:after` and done again (scheduler spec
§31.2)."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.domain.errors import CordumError
from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from cordum.scheduler import metrics
from cordum.scheduler.packets import accepted_result, cancel_notice, dead_letter_event
from cordum.scheduler.side_writes import SideWrites
from cordum.store import keys
from cordum.store.blobs import content_key
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore, Record
from cordum.store.schedule import overdue

OUTPUT_DUTIES: Final = frozenset({"check", "scan"})
SAGA_DUTIES: Final = frozenset({"saga", "rollback"})
_PUBLISHED: Final = ("result", "dlq", "cancel")

_log = structlog.get_logger("cordum.scheduler")
_AGE_US = 10_000_000
_BATCH = 200


class Duties:
    """Performs the duties named in a record's `after` field. Those of sagas are handed on."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        letters: DeadLetterStore,
        bus: Bus,
        publisher: Publisher,
        side_writes: SideWrites,
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._letters = letters
        self._bus = bus
        self._publisher = publisher
        self._side = side_writes
        self.on_sagas: Callable[[Sequence[str]], None] = lambda _: None
        """Hears which jobs have a saga duty left, once their outcome is published."""
        self.on_scans: Callable[[Sequence[str]], None] = lambda _: None
        """Hears which jobs have a result left to be scanned."""
        self.on_withheld: Callable[[Sequence[str]], None] = lambda _: None
        """Hears which jobs have a result that waits for its check."""

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
        found = await self._jobs.get_many(job_ids)
        records = [record for record in found if record is not None and record.get("after")]
        due = {record["id"] for record in records}
        revisions = {record["id"]: int(record["rev"]) for record in found if record is not None}
        idle = [job_id for job_id in job_ids if job_id not in due]
        if idle:
            await self._jobs.clear_after(
                [(job_id, revisions[job_id]) if job_id in revisions else job_id for job_id in idle]
            )
        self.on_scans([record["id"] for record in records if _has(record, "scan")])
        self.on_withheld([record["id"] for record in records if _has(record, "check")])
        records = [record for record in records if not set(record["after"].split(",")) <= OUTPUT_DUTIES]
        if not records:
            return
        published = await self._publish(records)
        # What the duties noted must be stored before the duties are forgotten.
        await self._side.flush()
        await self._jobs.duties_done(
            (record["id"], int(record["rev"]), _PUBLISHED) for record in records if record["id"] in published
        )
        self.on_sagas(
            [
                record["id"]
                for record in records
                if record["id"] in published and SAGA_DUTIES & set(record["after"].split(","))
            ]
        )

    async def _publish(self, records: Sequence[Record]) -> set[str]:
        """Publish the outcomes; return the ids of jobs whose messages all went out."""
        entries = await self._letters.get_many([record["id"] for record in records])
        messages: list[tuple[str, OutMessage]] = []
        for record, entry in zip(records, entries, strict=True):
            job_id, duties = record["id"], record["after"].split(",")
            if "dlq" in duties:
                messages.append((job_id, dead_letter_event(record, entry or {})))
            if "result" in duties:
                messages.append((job_id, accepted_result(record, entry or {})))
            if "cancel" in duties:
                await self._notify_cancel(record)
            self._note_sets(record, duties)
        outcomes = await self._publisher.publish_burst([message for _, message in messages], atomic=True)
        topics = {record["id"]: record.get("topic", "") for record in records}
        failed: set[str] = set()
        for (job_id, message), outcome in zip(messages, outcomes, strict=True):
            if not outcome.ok:
                failed.add(job_id)
                if message.subject == subjects.DLQ:
                    metrics.DLQ_EMIT_FAILURES.labels(self._planner.metric_topic(topics[job_id])).inc()
                _log.warning("duty postponed", job_id=job_id, subject=message.subject, error=outcome.error)
        return {record["id"] for record in records} - failed

    def _note_sets(self, record: Record, duties: Sequence[str]) -> None:
        job_id, tenant = record["id"], record.get("tenant", "default")
        if record["state"] == JobState.OUTPUT_QUARANTINED:
            self._side.evidence_kept([content_key(record.get("result_ptr", ""), job_id)])
        else:
            self._side.results_kept([keys.result_blob(job_id)])
        # A job that was dispatched again meanwhile keeps its place in the sets.
        if record["state"] == JobState.RETRYING:
            self._side.released([(tenant, job_id, int(record.get("dispatched_at", "0")))])
        elif record["state"] in TERMINAL_STATES:
            self._side.tenants([(tenant, job_id, False, False)])
        if "dlq" in duties:
            self._side.dead_letters([(tenant, job_id)])

    async def _notify_cancel(self, record: Record) -> None:
        try:
            await self._bus.publish_core(subjects.CANCEL, cancel_notice(record))
        except CordumError as error:
            _log.warning("cancel notice not sent", job_id=record["id"], error=str(error))


def _has(record: Record, duty: str) -> bool:
    return duty in record["after"].split(",")
