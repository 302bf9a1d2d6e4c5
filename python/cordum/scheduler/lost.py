"""Dispatches to workers that are gone (scheduler spec §15, row 2a)."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.domain.states import JobState
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.duties import Duties
from cordum.scheduler.moves import Change, Moves, transition_event
from cordum.scheduler.result_pipeline import retry_limit
from cordum.scheduler.side_writes import SideWrites
from cordum.store import keys
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record
from cordum.store.sweeps import DueWalk, confirmed

__all__ = ["Departures", "LostDispatches"]

DRAIN_S: Final = 30.0
"""A worker of the published SDK works on without heartbeats for so long while it stops."""

_SILENT_MAX: Final = 1_000
_HELD_MAX: Final = 1_000
_NAMED_MAX: Final = 20
_WORKERS_AT_ONCE: Final = 16

_log = structlog.get_logger("cordum.scheduler")


class Departures:
    """When workers fell silent, as far as this process could hear. Unknown ones had done so before it listened."""

    def __init__(self, worker_ttl_s: float, clock_s: Callable[[], float] = monotonic_s) -> None:
        self._worker_ttl_s = worker_ttl_s
        self._clock_s = clock_s
        self._listening_since_s = clock_s()
        self._left_s: dict[str, float] = {}
        self._silent: deque[str] = deque(maxlen=_SILENT_MAX)

    def left(self, worker_ids: Iterable[str]) -> list[str]:
        """Note workers whose TTL passed; return those that are silent for the drain time on top since the last call."""
        now = self._clock_s()
        gone = [worker for worker, at in self._left_s.items() if now - at >= DRAIN_S]
        for worker in gone:
            del self._left_s[worker]
        self._silent.extend(gone)
        self._left_s.update((worker, now) for worker in worker_ids)
        return gone

    def take_silent(self) -> list[str]:
        """Return the workers that are silent for TTL and drain time since the last call."""
        silent = list(self._silent)
        self._silent.clear()
        return silent

    async def deaf(self) -> None:
        """Begin anew: what was sent meanwhile was not heard."""
        self._listening_since_s = self._clock_s()
        self._left_s.clear()

    @property
    def can_tell(self) -> bool:
        """Tell whether this process has listened for long enough to call anybody silent."""
        return self._clock_s() - self._listening_since_s >= self._worker_ttl_s + DRAIN_S

    def is_lost(self, worker_id: str) -> bool:
        """Tell whether a worker that is not known to live has been silent for TTL and drain time."""
        return self.can_tell and worker_id not in self._left_s


class LostDispatches:
    """Gives jobs whose worker never took them to another one, within their retry budget."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        moves: Moves,
        duties: Duties,
        side_writes: SideWrites,
        configs: EffectiveConfigs,
        departures: Departures,
        is_listening: Callable[[], bool],
        dispatch_timeout_s: Callable[[], int],
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._moves = moves
        self._duties = duties
        self._side = side_writes
        self._configs = configs
        self._departures = departures
        self._is_listening = is_listening
        self._dispatch_timeout_s = dispatch_timeout_s

    async def sweep(self) -> int:
        """Look after dispatched jobs of lost workers; return how many there were. Raises Unavailable."""
        if not (self._is_listening() and self._departures.can_tell):
            return 0
        lost = 0
        # A worker lived when it was chosen, so a younger dispatch cannot be lost yet.
        before_us = now_us() - int(DRAIN_S * 1_000_000)
        walk = DueWalk(self._jobs, lambda tag: keys.job_index(tag, JobState.DISPATCHED), before_us)
        while ids := await walk.next():
            found = await self._jobs.get_many(ids)
            records = [record for record in found if record is not None and self._is_lost(record)]
            records = await confirmed(self._jobs, records)
            lost += len(records)
            moved = await self._handle(records)
            walk.stayed([job_id for job_id in ids if job_id not in moved])
        await self._tell_running(self._departures.take_silent())
        return lost

    async def _tell_running(self, workers: Sequence[str]) -> None:
        """Log the running jobs of workers that fell silent: they may still finish, their time-out decides."""
        silent = [worker for worker in workers if not self._planner.alive(worker, "", now_us())]
        for start in range(0, len(silent), _WORKERS_AT_ONCE):
            part = silent[start : start + _WORKERS_AT_ONCE]
            for worker_id, running in (await self._running(part)).items():
                _log.warning(
                    "a silent worker has running jobs, their time-out decides",
                    worker_id=worker_id,
                    jobs=len(running),
                    job_ids=running[:_NAMED_MAX],
                )

    async def _running(self, workers: Sequence[str]) -> dict[str, list[str]]:
        """Return the running jobs of those workers that have any, in two round trips."""
        commands = [("ZREVRANGE", keys.worker_jobs(worker), 0, _HELD_MAX - 1) for worker in workers]
        listed = await self._jobs.client.pipeline(commands)
        for reply in listed:
            if isinstance(reply, CordumError):
                raise reply
        held = [
            (worker, job_id.decode()) for worker, ids in zip(workers, listed, strict=True) for job_id in ids
        ]
        rows = await self._jobs.fields([job_id for _, job_id in held], ("state", "worker_id"))
        running: dict[str, list[str]] = {}
        for (worker, job_id), row in zip(held, rows, strict=True):
            if row == [JobState.RUNNING.encode(), worker.encode()]:
                running.setdefault(worker, []).append(job_id)
        return running

    def _is_lost(self, record: Record) -> bool:
        worker_id = record.get("worker_id", "")
        direct = record.get("dispatch_subject", "").startswith("worker.")
        return bool(
            record.get("state") == JobState.DISPATCHED
            and worker_id
            and direct
            and not record.get("pending_result")
            and not self._planner.alive(worker_id, "", now_us())
            and self._departures.is_lost(worker_id)
        )

    async def _handle(self, records: Sequence[Record]) -> set[str]:
        if not records:
            return set()
        for record in records:
            metrics.LOST_DISPATCHES.inc()
            _log.warning("dispatch lost", job_id=record["id"], worker_id=record["worker_id"])
        plans = await self._plans(records)
        again = [record for record in records if plans[record["id"]][0] != "exhausted"]
        spent = [record for record in records if plans[record["id"]][0] == "exhausted"]
        moved = await self._moves.apply(again, lambda record: self._retry(record, *plans[record["id"]]))
        for record in moved:
            topic = self._planner.metric_topic(record.get("topic", ""))
            metrics.COMPLETED.labels(topic, "failed_retryable").inc()
        self._side.tenants([(r.get("tenant", "default"), r["id"], True, False) for r in moved])
        await self._duties.perform([record["id"] for record in moved])
        reason = f"timeout: dispatched exceeded ({self._dispatch_timeout_s()}s)"
        return {r["id"] for r in moved} | await self._moves.time_out(spent, lambda r: self._spent(r, reason))

    async def _plans(self, records: Sequence[Record]) -> dict[str, tuple[str, int]]:
        scopes = [self._planner.retry_scope(record) for record in records]
        asked = [scope for scope in scopes if scope is not None]
        configs = iter(await self._configs.many(asked) if asked else ())
        plans = {}
        for record, scope in zip(records, scopes, strict=True):
            limit = retry_limit(next(configs).data) if scope is not None else None
            seed = int.from_bytes(os.urandom(8), "little")
            plans[record["id"]] = self._planner.retry_plan(record, limit, seed)
        return plans

    def _retry(self, record: Record, kind: str, wait_us: int) -> Change | None:
        if not self._is_lost(record):
            return None
        now, worker_id = now_us(), record["worker_id"]
        event = transition_event(now, JobState.RETRYING, worker_id=worker_id, reason="worker_lost")
        change: Change = {
            "to": str(JobState.RETRYING),
            "set": {"last_cause": "worker_lost", "failure_reason": f"worker lost: {worker_id}"},
            "due": now + wait_us if kind == "engine" else 0,
            "after": ["result"],
            "events": [event],
        }
        if kind == "again":
            change["retry"] = now + wait_us
        return change

    def _spent(self, record: Record, reason: str) -> str | None:
        return reason if self._is_lost(record) else None
