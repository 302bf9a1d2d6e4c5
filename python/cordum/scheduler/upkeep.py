"""Keeping lists true to the records they list (scheduler spec §15 row 8)."""

from typing import Final

import structlog

from cordum.domain.states import JobState
from cordum.runtime.clock import now_us
from cordum.scheduler import metrics
from cordum.scheduler.repair import TenantRepair
from cordum.store.jobs import JobStore
from cordum.store.sweeps import repair_index, trim_dead_letters, trim_terminal

__all__ = ["Upkeep"]

_STATES: Final = tuple(JobState)

_log = structlog.get_logger("cordum.scheduler")


class Upkeep:
    """One bounded piece of each list per tick."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._tenants = TenantRepair(jobs)
        self._state = 0
        self._offset = 0

    async def sweep(self) -> None:
        """Repair and trim. Raises Unavailable."""
        await self._tenants.sweep()
        await self._sample_index()
        await trim_terminal(self._jobs, now_us=now_us())
        dropped = await trim_dead_letters(self._jobs)
        if dropped:
            metrics.DLQ_DROPPED.inc(dropped)

    async def _sample_index(self) -> None:
        """Compare the next window of some state's index with the records."""
        state = _STATES[self._state]
        more, wrong = await repair_index(self._jobs, state, offset=self._offset)
        if wrong:
            _log.warning("index entries put right", state=state.value, entries=wrong)
        if more:
            self._offset += 200 - min(200, wrong)
        else:
            self._state, self._offset = (self._state + 1) % len(_STATES), 0
