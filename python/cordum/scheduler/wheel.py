"""The retry wheel: parked jobs whose time has come, and early wake-ups when a pool gains room (scheduler
spec §16)."""

import asyncio
from collections.abc import Iterable

import structlog

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.submit_pipeline import SubmitPipeline
from cordum.store.jobs import JobStore
from cordum.store.schedule import lease_due, wake_pool

_log = structlog.get_logger("cordum.scheduler")
_TICK_S = 0.1
_PER_PARTITION = 8
_COALESCE_S = 0.02
_PROBE_EVERY_S = 1.0
_RETRY_S = 1.0
_WAKE_MAX = 1024


class Wheel:
    """Feeds due jobs to the submit pipeline."""

    def __init__(self, planner: Planner, jobs: JobStore, submits: SubmitPipeline, batch_max: int) -> None:
        self._planner = planner
        self._jobs = jobs
        self._submits = submits
        self._batch_max = batch_max
        self._turn = asyncio.Event()
        self._capacity = asyncio.Event()
        self._pools: set[str] = set()
        self._online: set[str] = set()
        self._probed_s: dict[str, float] = {}

    def on_capacity(self, capacities: Iterable[tuple[str, str, bool]]) -> None:
        """Note pools that came online or have room again: (pool, worker id, online).

        A pool nobody here waits for is probed at most once a second, because another replica may have
        parked its jobs.
        """
        now = monotonic_s()
        for pool, _, online in capacities:
            if online:
                self._online.add(pool)
            elif pool not in self._submits.waiting:
                if now - self._probed_s.get(pool, 0.0) < _PROBE_EVERY_S:
                    continue
                self._probed_s[pool] = now
            self._pools.add(pool)
        if self._pools:
            self._capacity.set()

    async def run(self) -> None:
        """Lease and process due jobs."""
        partitions = range(self._jobs.partitions)
        while True:
            try:
                due = await lease_due(self._jobs, partitions, now_us=now_us(), limit=_PER_PARTITION)
                for start in range(0, len(due), self._batch_max):
                    await self._submits.handle_due(due[start : start + self._batch_max])
            except CordumError as error:
                # Leases end by themselves; the jobs come back.
                _log.warning("due jobs not processed", error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            if len(due) < _PER_PARTITION:
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_TICK_S):
                await self._turn.wait()
        except TimeoutError:
            return
        finally:
            self._turn.clear()

    async def watch_capacity(self) -> None:
        """Make waiting jobs of pools with room due at once."""
        while True:
            await self._capacity.wait()
            await asyncio.sleep(_COALESCE_S)
            self._capacity.clear()
            pools, self._pools = self._pools, set()
            online, self._online = self._online, set()
            try:
                for pool in pools:
                    await self._wake(pool, online=pool in online)
            except CordumError as error:
                _log.warning("waiting jobs not woken", error=str(error))

    async def _wake(self, pool: str, *, online: bool) -> None:
        room = self._planner.room(pool)
        if room <= 0:
            return
        woken = await wake_pool(self._jobs, pool, now_us=now_us(), limit=min(room, _WAKE_MAX))
        if woken == 0:
            self._submits.waiting.discard(pool)
            return
        self._turn.set()
        if online:
            metrics.FLUSHES.labels(pool).inc()
            _log.info("flush on worker online", pool=pool, dispatched=woken)
