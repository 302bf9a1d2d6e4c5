"""Time-outs, deadlines and orphans; one leader per tick (scheduler spec §15, §16.2)."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
import structlog

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.approval_repair import ApprovalRepair
from cordum.scheduler.duties import Duties
from cordum.scheduler.repair import TenantRepair
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.settling import Settler
from cordum.scheduler.side_writes import SideWrites
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record
from cordum.store.locks import LeaderLock
from cordum.store.schedule import make_due, overdue

_log = structlog.get_logger("cordum.scheduler")
_BATCH = 200
_SETTLE_EVERY_S = 2.5
_ORPHAN_AGE_US = 120_000_000


class Reconciler:
    """Moves jobs that waited too long. ``limits`` returns (dispatch, running) time-outs in seconds for
    texts."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        duties: Duties,
        settler: Settler,
        side_writes: SideWrites,
        leader: LeaderLock,
        dispatch_timeout_s: Callable[[], int],
        blobs: BlobStore,
        safety: SafetyClient,
        configs: EffectiveConfigs,
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._duties = duties
        self._settler = settler
        self._side = side_writes
        self._leader = leader
        self._dispatch_timeout_s = dispatch_timeout_s
        self._repair = TenantRepair(jobs)
        self._approvals = ApprovalRepair(jobs, blobs, safety, configs, duties, self._feed)
        self.leading = False

    async def run(self, interval_s: Callable[[], float]) -> None:
        """Tick for ever."""
        while True:
            await self._guarded("tick", self._tick)
            await asyncio.sleep(interval_s())

    async def run_settling(self) -> None:
        """Settle unconfirmed dispatches and unfinished duties more often than the tick."""
        while True:
            await self._guarded("settling", self._settle)
            await asyncio.sleep(_SETTLE_EVERY_S)

    async def _guarded(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except CordumError as error:
            _log.warning("sweep postponed", sweep=name, error=str(error))

    async def _settle(self) -> None:
        await self._settler.sweep(leading=self.leading)
        if self.leading:
            await self._duties.sweep()

    async def _tick(self) -> None:
        self.leading = await self._leader.try_lead()
        if not self.leading:
            return
        stale = {state.value.lower(): 0 for state in (JobState.DISPATCHED, JobState.RUNNING)}
        for record in await self._confirmed(await self._overdue(keys.job_due)):
            await self._expire(record, stale)
        for record in await self._overdue(keys.job_deadline):
            await self._time_out(record, "timeout: deadline expired")
        for state, number in stale.items():
            metrics.STALE.labels(state).set(number)
        await self._replay_orphans()
        await self._repair.sweep()
        await self._approvals.sweep()

    async def _overdue(self, index: Callable[[str], str]) -> list[Record]:
        ids = await overdue(self._jobs, index, before_us=now_us(), limit=_BATCH)
        records = await self._jobs.get_many(ids) if ids else []
        return [record for record in records if record is not None]

    async def _confirmed(self, records: list[Record]) -> list[Record]:
        """Leave out dispatches whose publish is not confirmed: nobody may have them yet, settling decides."""
        replies = await self._jobs.client.pipeline(
            [("ZSCORE", keys.job_disp(self._jobs.tag(record["id"])), record["id"]) for record in records]
        )
        return [record for record, score in zip(records, replies, strict=True) if score is None]

    async def _expire(self, record: Record, stale: dict[str, int]) -> None:
        state = record.get("state")
        if state == JobState.DISPATCHED:
            stale["dispatched"] += 1
            if self._planner.alive(record.get("worker_id", ""), record.get("pool", ""), now_us()):
                await self._to_running(record)
            else:
                await self._time_out(record, f"timeout: dispatched exceeded ({self._dispatch_timeout_s()}s)")
        elif state == JobState.RUNNING:
            stale["running"] += 1
            limit_s = self._planner.running_timeout_us(record.get("topic", "")) // 1_000_000
            await self._time_out(record, f"timeout: running exceeded ({limit_s}s)")

    async def _to_running(self, record: Record) -> None:
        now = now_us()
        change: dict[str, Any] = {
            "id": record["id"],
            "from": [JobState.DISPATCHED],
            "to": str(JobState.RUNNING),
            "rev": int(record["rev"]),
            "due": now + self._planner.running_timeout_us(record.get("topic", "")),
            "events": [_event(now, JobState.RUNNING, {})],
        }
        await self._jobs.move(change, now_us=now)

    async def _time_out(self, record: Record, reason: str) -> None:
        if JobState(record["state"]) in TERMINAL_STATES:
            return
        now = now_us()
        change: dict[str, Any] = {
            "id": record["id"],
            "from": [record["state"]],
            "to": str(JobState.TIMEOUT),
            "rev": int(record["rev"]),
            "set": {"failure_reason": reason},
            "after": ["result", "dlq", "cancel"],
            "dlq": {
                "status": "JOB_STATUS_TIMEOUT",
                "reason": reason,
                "reason_code": "timeout",
                "created_at": rfc3339(now),
            },
            "events": [_event(now, JobState.TIMEOUT, {"error_code": "timeout", "error_msg": reason})],
        }
        if record["state"] == JobState.APPROVAL_REQUIRED:
            change["set"] |= {
                "approval_status": "expired",
                "approval_actionability": "expired",
                "approval_decision": "expire",
            }
        reply = await self._jobs.move(change, now_us=now)
        if reply[0] == b"moved":
            topic = self._planner.metric_topic(record.get("topic", ""))
            metrics.COMPLETED.labels(topic, "timeout").inc()
            self._side.tenants([(record.get("tenant", "default"), record["id"], False, False)])
            await self._duties.perform([record["id"]])

    async def _replay_orphans(self) -> None:
        """Feed PENDING and SCHEDULED jobs nothing else will touch again: no retry entry, older than two
        minutes."""
        before = now_us() - _ORPHAN_AGE_US
        for state in (JobState.PENDING, JobState.SCHEDULED):
            ids = await overdue(
                self._jobs,
                partial(_index_of, state),
                before_us=before,
                limit=_BATCH,
            )
            if not ids:
                continue
            parked = await self._jobs.fields(ids, ("next_attempt_at", "topic"))
            orphans = [
                (job_id, topic)
                for job_id, (planned, topic) in zip(ids, parked, strict=True)
                if planned is None
            ]
            await self._feed([job_id for job_id, _ in orphans])
            for job_id, topic in orphans:
                _log.info("orphan fed again", job_id=job_id)
                metrics.REPLAYED.labels(self._planner.metric_topic((topic or b"").decode())).inc()

    async def _feed(self, job_ids: list[str]) -> None:
        await make_due(self._jobs, job_ids, at_us=now_us())


def _index_of(state: JobState, tag: str) -> str:
    return keys.job_index(tag, state.value.lower())


def _event(now: int, state: JobState, context: dict[str, str]) -> str:
    event: dict[str, Any] = {"ts": now, "state": str(state)}
    if context:
        event["ctx"] = context
    return orjson.dumps(event).decode()
