"""The retry wheel: parked jobs whose time has come, and early wake-ups when a pool gains room (scheduler
spec §16)."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import structlog

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.submit_pipeline import SubmitPipeline
from cordum.store.jobs import JobStore
from cordum.store.schedule import earliest_due, lease_due, wake_pool

_log = structlog.get_logger("cordum.scheduler")
_TICK_S = 0.1
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
        self._any_parked = True  # until a turn has looked
        submits.on_parked = self._turn.set

    def on_capacity(self, capacities: Iterable[tuple[str, str, bool]]) -> None:
        """Note pools that came online or have room again: (pool, worker id, online).

        A pool nobody here waits for is probed at most once a second, because another replica may have
        parked its jobs; not at all while the last turn found no parked job of anybody.
        """
        now = monotonic_s()
        for pool, _, online in capacities:
            if online:
                self._online.add(pool)
            elif pool not in self._submits.waiting:
                if not self._any_parked or now - self._probed_s.get(pool, 0.0) < _PROBE_EVERY_S:
                    continue
                self._probed_s[pool] = now
            self._pools.add(pool)
        if self._pools:
            self._capacity.set()

    async def run(self) -> None:
        """Lease and process due jobs; sleep until the first parked job is due, at most for a second.

        The limit is for jobs that another replica parked meanwhile; own ones turn the wheel at once.
        """
        while True:
            try:
                wait_s = await self._turn_once()
            except CordumError as error:
                # Leases end by themselves; the jobs come back.
                _log.warning("due jobs not processed", error=str(error))
                wait_s = _RETRY_S
            await self._pause(wait_s)

    async def _turn_once(self) -> float:
        """Process what is due now; return seconds until the wheel has to turn again."""
        now = now_us()
        earliest = await earliest_due(self._jobs)
        self._any_parked = bool(earliest)
        ready = [partition for at_us, partition in earliest if at_us <= now]
        if not ready:
            next_us = min((at_us for at_us, _ in earliest), default=now + 1_000_000)
            return min(max((next_us - now) / 1e6, _TICK_S), 1.0)
        share = max(1, self._batch_max // len(ready))
        due = await lease_due(self._jobs, ready, now_us=now, limit=share)
        for start in range(0, len(due), self._batch_max):
            await self._submits.handle_due(due[start : start + self._batch_max])
        return 0.0 if due else _TICK_S

    async def _pause(self, wait_s: float) -> None:
        if wait_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._turn.wait()
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
        woken, front = await wake_pool(self._jobs, pool, now_us=now_us(), limit=min(room, _WAKE_MAX))
        self._planner.looked_at_line(pool, front)
        if woken == 0:
            self._submits.waiting.discard(pool)
            return
        self._turn.set()
        if online:
            metrics.FLUSHES.labels(pool).inc()
            _log.info("flush on worker online", pool=pool, dispatched=woken)
