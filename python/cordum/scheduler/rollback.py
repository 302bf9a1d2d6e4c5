"""Dispatches whose publish failed (scheduler spec §8, §31.3)."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from cordum._core import Planner
from cordum.bus.messages import PubOutcome
from cordum.domain.states import JobState
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.outgoing import Outgoing
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
        "events": [
            orjson.dumps({"ts": now, "state": "SCHEDULED", "ctx": {"reason": "dispatch_failed"}}).decode()
        ],
    }


def too_large_change(job_id: str, dispatch_id: str, rev: int, now: int) -> dict[str, Any]:
    """Return the change that ends a job whose dispatch can never fit the broker's limit."""
    reason = "dispatch does not fit the broker's message size"
    event = {"ts": now, "state": "FAILED", "ctx": {"error_code": "payload_too_large", "error_msg": reason}}
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
        "events": [orjson.dumps(event).decode()],
    }


async def roll_back(
    planner: Planner,
    jobs: JobStore,
    failed: Iterable[tuple[Outgoing, PubOutcome]],
    undo: Mapping[str, Undo],
) -> None:
    """Undo dispatches nobody can have received; ``undo`` has the job ids.

    A time-out or a lost connection proves nothing: such a job keeps its `job:disp` entry and is settled
    against the stream later.
    """
    now = now_us()
    changes: list[Mapping[str, Any]] = []
    for outgoing, outcome in failed:
        job_id, dispatch_id = outgoing[3], outgoing[2].removeprefix("dispatch:")
        how = undo[job_id]
        _log.warning("dispatch not published", job_id=job_id, kind=outcome.kind, error=outcome.error)
        if outcome.kind == "too_large":
            changes.append(too_large_change(job_id, dispatch_id, how.rev, now))
        elif outcome.kind in ("no_stream", "refused"):
            metrics.ROLLBACKS.labels(how.topic).inc()
            changes.append(rollback_change(planner, job_id, dispatch_id, how.rev, how.failures, now))
    if changes:
        groups = [(jobs.partition(change["id"]), (jobs.pack(change),)) for change in changes]
        await jobs.apply("job_move", groups, now_us=now)
