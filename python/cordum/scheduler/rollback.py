"""Dispatches whose publish failed (scheduler spec §8, §31.3)."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from cordum._core import Planner
from cordum.bus.messages import PubOutcome
from cordum.domain.states import JobState
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.moves import transition_event
from cordum.scheduler.outgoing import Outgoing
from cordum.scheduler.side_writes import SideWrites
from cordum.store.job_times import taken_ms
from cordum.store.jobs import JobStore

_log = structlog.get_logger("cordum.scheduler")


@dataclass(frozen=True, slots=True)
class Undo:
    """How a dispatch is taken back.

    Attributes:
        topic: Metric label.
        failures: Routing failures since the last confirmed dispatch.
        rev: Revision of the record that names the dispatch. Whoever takes it over, because this process stood still and
            was taken for dead, moves on from it.
    """

    topic: str
    failures: int
    rev: int


def rollback_change(
    planner: Planner, job_id: str, dispatch_id: str, rev: int, failures: int, now: int
) -> dict[str, Any]:
    """Return the change DISPATCHED → SCHEDULED of one unpublished dispatch, parked with the back-off of a job that has
    had so many routing ``failures`` before. It is refused when the record has moved on from ``rev``."""
    delay_us = planner.route_delay_us(failures, int.from_bytes(os.urandom(8), "little"))
    return {
        "id": job_id,
        "from": [JobState.DISPATCHED],
        "to": str(JobState.SCHEDULED),
        "rev": rev,
        "dispatch_id": dispatch_id,
        "incr": {"rollbacks": 1, "route_failures": 1},
        "set": {"last_cause": "dispatch_failed"},
        "due": 0,
        "retry": now + delay_us,
        "events": [transition_event(now, JobState.SCHEDULED, reason="dispatch_failed")],
    }


def too_large_change(job_id: str, dispatch_id: str, rev: int, taken: int, now: int) -> dict[str, Any]:
    """Return the change that ends a job, after ``taken`` ms, whose dispatch can never fit the broker's limit."""
    reason = "dispatch does not fit the broker's message size"
    event = transition_event(
        now, JobState.FAILED, error_code="payload_too_large", error_msg=reason, duration_ms=taken
    )
    return {
        "id": job_id,
        "from": [JobState.DISPATCHED],
        "to": str(JobState.FAILED),
        "rev": rev,
        "dispatch_id": dispatch_id,
        "set": {"failure_reason": reason},
        "dlq": {
            "status": "JOB_STATUS_FAILED",
            "reason": reason,
            "reason_code": "payload_too_large",
            "created_at": rfc3339(now),
        },
        "after": ["result", "dlq"],
        "events": [event],
    }


async def roll_back(
    planner: Planner,
    jobs: JobStore,
    failed: Iterable[tuple[Outgoing, PubOutcome]],
    undo: Mapping[str, Undo],
    side: SideWrites,
) -> list[str]:
    """Undo dispatches nobody can have received; ``undo`` has the job ids. Return the jobs that ended by it, whose
    duties are left to the caller. Raises Unavailable.

    A time-out or a lost connection proves nothing: such a job keeps its `job:disp` entry and is settled
    against the stream later.
    """
    fates = {out[3]: (out[2].removeprefix("dispatch:"), outcome) for out, outcome in failed}
    hopeless = [job_id for job_id, (_, outcome) in fates.items() if outcome.kind == "too_large"]
    records = dict(zip(hopeless, await jobs.get_many(hopeless), strict=True)) if hopeless else {}
    now = now_us()
    changes: list[Mapping[str, Any]] = []
    for job_id, (dispatch_id, outcome) in fates.items():
        how = undo[job_id]
        _log.warning("dispatch not published", job_id=job_id, kind=outcome.kind, error=outcome.error)
        if outcome.kind == "too_large":
            taken = taken_ms(records[job_id] or {}, now)
            changes.append(too_large_change(job_id, dispatch_id, how.rev, taken, now))
        elif outcome.kind in ("no_stream", "refused"):
            metrics.ROLLBACKS.labels(how.topic).inc()
            changes.append(rollback_change(planner, job_id, dispatch_id, how.rev, how.failures, now))
    if not changes:
        return []
    groups = [(jobs.partition(change["id"]), (jobs.pack(change),)) for change in changes]
    replies = await jobs.apply("job_move", groups, now_us=now)
    moved = [
        (change["id"], reply)
        for change, (reply,) in zip(changes, replies, strict=True)
        if reply[0] == b"moved"
    ]
    side.touched([(reply[5].decode(), job_id) for job_id, reply in moved], now)
    ended = [job_id for job_id, _ in moved if job_id in records]
    for job_id in ended:
        metrics.COMPLETED.labels(undo[job_id].topic, "failed").inc()
    return ended
