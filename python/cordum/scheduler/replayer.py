"""Jobs nothing would touch again are fed to the submit pipeline (scheduler spec §15 row 1, §16.2)."""

from collections.abc import Sequence
from typing import Final

import structlog

from cordum._core import Planner
from cordum.domain.states import JobState
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.configuration import Configuration
from cordum.scheduler.moves import Moves
from cordum.store.jobs import JobStore
from cordum.store.schedule import make_due
from cordum.store.sweeps import orphans

__all__ = ["Replayer", "StuckScheduled"]

_ORPHAN_AGE_US: Final = 120_000_000
_INTENT_AGE_US: Final = 10_000_000
_STUCK_FOR_S: Final = 600.0
_REMEMBERED_MAX: Final = 100_000

_log = structlog.get_logger("cordum.scheduler")


class Replayer:
    """Feeds orphans: submits that were lost, approvals whose publish was, retries without an entry."""

    def __init__(self, planner: Planner, jobs: JobStore, configuration: Configuration) -> None:
        self._planner = planner
        self._jobs = jobs
        self._configuration = configuration

    async def sweep(self) -> int:
        """Feed everything that is due for it; return how many jobs. Raises Unavailable."""
        before_us = now_us() - _ORPHAN_AGE_US
        fed = 0
        for state in (JobState.PENDING, JobState.SCHEDULED):
            fed += await self._replay(await orphans(self._jobs, state, before_us=before_us))
        fed += await self._replay(await self._lost_retries())
        return fed + await self._replay_intents()

    async def _replay(self, job_ids: Sequence[str]) -> int:
        if not job_ids:
            return 0
        await make_due(self._jobs, job_ids, at_us=now_us())
        for (topic,) in await self._jobs.fields(job_ids, ("topic",)):
            metrics.REPLAYED.labels(self._planner.metric_topic((topic or b"").decode())).inc()
        _log.info("orphans fed again", jobs=len(job_ids), first=job_ids[0])
        return len(job_ids)

    async def _lost_retries(self) -> list[str]:
        """Return RETRYING jobs of nobody's engine that lost their due entry."""
        before_us = now_us() - self._configuration.retrying_timeout_s * 1_000_000
        ids = await orphans(self._jobs, JobState.RETRYING, before_us=before_us)
        rows = await self._jobs.fields(ids, ("run_id", "saga")) if ids else []
        return [job_id for job_id, (run, saga) in zip(ids, rows, strict=True) if run is None or saga == b"x"]

    async def _replay_intents(self) -> int:
        """Feed approved jobs whose submit did not arrive: their publish intent is still open."""
        before_us = now_us() - _INTENT_AGE_US
        ids = await orphans(self._jobs, JobState.PENDING, before_us=before_us)
        rows = await self._jobs.fields(ids, ("approval_publish_status",)) if ids else []
        lost = [job_id for job_id, (status,) in zip(ids, rows, strict=True) if status == b"pending"]
        return await self._replay(lost)


class StuckScheduled:
    """SCHEDULED jobs that are not parked: fed again, and timed out when ten minutes of that change nothing."""

    def __init__(self, jobs: JobStore, moves: Moves, configuration: Configuration) -> None:
        self._jobs = jobs
        self._moves = moves
        self._configuration = configuration
        self._first_fed_s: dict[str, float] = {}

    async def sweep(self) -> int:
        """Return how many jobs are stuck now. Raises Unavailable."""
        limit_s = self._configuration.scheduled_timeout_s
        before_us = now_us() - limit_s * 1_000_000
        found = await orphans(self._jobs, JobState.SCHEDULED, before_us=before_us)
        now = monotonic_s()
        for job_id in found:
            if len(self._first_fed_s) < _REMEMBERED_MAX:
                self._first_fed_s.setdefault(job_id, now)
        await make_due(self._jobs, found, at_us=now_us())
        await self._forget_moved()
        old = [job_id for job_id, at in self._first_fed_s.items() if now - at >= _STUCK_FOR_S]
        records = [record for record in await self._jobs.get_many(old) if record] if old else []
        ended = await self._moves.time_out(records, lambda _: f"timeout: scheduled exceeded ({limit_s}s)")
        for job_id in ended:
            self._first_fed_s.pop(job_id, None)
        return len(self._first_fed_s) + len(ended)

    async def _forget_moved(self) -> None:
        ids = list(self._first_fed_s)
        rows = await self._jobs.fields(ids, ("state", "next_attempt_at")) if ids else []
        for job_id, (state, planned) in zip(ids, rows, strict=True):
            if state != JobState.SCHEDULED.encode() or planned is not None:
                del self._first_fed_s[job_id]
