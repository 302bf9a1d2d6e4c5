"""Changes the background makes to many jobs in one step, and what follows from them (scheduler spec §15)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
import structlog

from cordum._core import Planner
from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.duties import Duties
from cordum.scheduler.side_writes import SideWrites
from cordum.store.job_times import taken_ms
from cordum.store.jobs import JobStore, Record
from cordum.telemetry import approvals

__all__ = ["Change", "Moves", "transition_event"]

Change = dict[str, Any]
Plan = Callable[[Record], Change | None]
"""The change a record asks for, without its fence; None: none."""

_ROUNDS: Final = 3

_log = structlog.get_logger("cordum.scheduler")


def transition_event(now: int, state: str, **context: object) -> str:
    """Return an entry of a job's event list."""
    event: dict[str, Any] = {"ts": now, "state": str(state)}
    if context:
        event["ctx"] = context
    return orjson.dumps(event).decode()


class Moves:
    """Applies changes fenced by the records' revisions: whoever moved a job meanwhile wins."""

    def __init__(self, planner: Planner, jobs: JobStore, duties: Duties, side_writes: SideWrites) -> None:
        self._planner = planner
        self._jobs = jobs
        self._duties = duties
        self._side = side_writes

    async def apply(self, records: Sequence[Record], plan: Plan) -> list[Record]:
        """Apply what ``plan`` says of each record; return the records that moved, as they were before.

        A record that changed meanwhile is read and planned again, three times in all. Raises Unavailable.
        """
        moved: list[Record] = []
        left = list(records)
        for _ in range(_ROUNDS):
            fenced = [(record, change) for record in left if (change := self._fenced(record, plan))]
            if not fenced:
                return moved
            now = now_us()
            groups = [
                (self._jobs.partition(record["id"]), (self._jobs.pack(change),)) for record, change in fenced
            ]
            replies = await self._jobs.apply("job_move", groups, now_us=now)
            contested: list[str] = []
            for (record, _), (reply,) in zip(fenced, replies, strict=True):
                if reply[0] == b"moved":
                    moved.append(record)
                    self._side.touched([(reply[5].decode(), record["id"])], now)
                else:
                    contested.append(record["id"])
            left = [record for record in await self._jobs.get_many(contested) if record] if contested else []
        for record in left:
            _log.info("a job changes too often to be moved, the next tick tries again", job_id=record["id"])
        return moved

    @staticmethod
    def _fenced(record: Record, plan: Plan) -> Change | None:
        change = plan(record)
        if change is None:
            return None
        return {"id": record["id"], "from": [record["state"]], "rev": int(record["rev"]), **change}

    async def time_out(self, records: Sequence[Record], reason: Callable[[Record], str | None]) -> set[str]:
        """Move jobs to TIMEOUT and tell everybody; return the ids of those that moved. No ``reason`` spares a job.

        Raises Unavailable.
        """

        def plan(record: Record) -> Change | None:
            is_final = JobState(record["state"]) in TERMINAL_STATES
            text = None if is_final else reason(record)
            return None if text is None else _timed_out(record, text)

        moved = await self.apply(records, plan)
        for record in moved:
            self._count(record, "timeout")
            if record["state"] == JobState.APPROVAL_REQUIRED:
                approvals.EXPIRED.inc()
                approvals.DECISIONS.labels("expired").inc()
        self._note_ended(moved)
        await self._duties.perform([record["id"] for record in moved])
        return {record["id"] for record in moved}

    async def fail(self, records: Sequence[Record], reason: str) -> set[str]:
        """Move jobs to FAILED without a dead letter; return the ids of those that moved. Raises Unavailable."""

        def plan(record: Record) -> Change:
            now = now_us()
            taken = taken_ms(record, now)
            return {
                "to": str(JobState.FAILED),
                "set": {"failure_reason": reason},
                "after": ["result"],
                "events": [transition_event(now, JobState.FAILED, error_msg=reason, duration_ms=taken)],
            }

        moved = await self.apply(records, plan)
        for record in moved:
            self._count(record, "failed")
        self._note_ended(moved)
        await self._duties.perform([record["id"] for record in moved])
        return {record["id"] for record in moved}

    def _count(self, record: Record, status: str) -> None:
        metrics.COMPLETED.labels(self._planner.metric_topic(record.get("topic", "")), status).inc()
        if record.get("saga") == "x":
            metrics.SAGA_COMPENSATION_FAILED.inc()

    def _note_ended(self, records: Sequence[Record]) -> None:
        self._side.tenants([(r.get("tenant", "default"), r["id"], False, False) for r in records])


def _timed_out(record: Record, reason: str) -> Change:
    now = now_us()
    taken = taken_ms(record, now)
    event = transition_event(now, JobState.TIMEOUT, error_code="timeout", error_msg=reason, duration_ms=taken)
    change: Change = {
        "to": str(JobState.TIMEOUT),
        "set": {"failure_reason": reason},
        "after": ["result", "dlq", "cancel"],
        "dlq": {
            "status": "JOB_STATUS_TIMEOUT",
            "reason": reason,
            "reason_code": "timeout",
            "created_at": rfc3339(now),
        },
        "events": [event],
    }
    if record["state"] == JobState.APPROVAL_REQUIRED:
        change["set"] |= {
            "approval_status": "expired",
            "approval_actionability": "expired",
            "approval_decision": "expire",
        }
    return change
