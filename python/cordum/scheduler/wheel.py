"""The retry wheel: parked jobs whose time has come, and early wake-ups when a pool gains room (scheduler
spec §16)."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import structlog

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.submit_pipeline import SubmitPipeline
from cordum.store.jobs import JobStore
from cordum.store.schedule import earliest_due, lease_due, wake_pool

__all__ = ["Wheel", "preferred_partitions"]

_log = structlog.get_logger("cordum.scheduler")
_TICK_S = 0.1
_ALONE_S = 1.0
_COALESCE_S = 0.02
_PROBE_EVERY_S = 1.0
_RETRY_S = 1.0
_WAKE_MAX = 1024


def preferred_partitions(instance: str, live: Sequence[str], partitions: int) -> list[int]:
    """Return the partitions this instance looks after: those for which it has the highest hash among the live ones.

    Replicas that disagree about who lives look after some partitions twice or, until they agree, not at all.
    """
    others = [other for other in live if other != instance]

    def weight(of: str, partition: int) -> bytes:
        return hashlib.sha256(f"{of}|{partition}".encode()).digest()

    return [
        partition
        for partition in range(partitions)
        if all(weight(instance, partition) > weight(other, partition) for other in others)
    ]


class Wheel:
    """Feeds due jobs to the submit pipeline."""

    def __init__(self, planner: Planner, jobs: JobStore, submits: SubmitPipeline) -> None:
        self._planner = planner
        self._jobs = jobs
        self._submits = submits
        self._turn = asyncio.Event()
        self._capacity = asyncio.Event()
        self._pools: set[str] = set()
        self._online: dict[str, tuple[str, str]] = {}
        self._probed_s: dict[str, float] = {}
        self._any_parked = True  # until a turn has looked
        self._own: Sequence[int] = range(jobs.partitions)
        self._is_alone = True
        submits.on_parked = self._turn.set

    def share(self, instance: str, live: Sequence[str]) -> None:
        """Look after this instance's part of the partitions among the live instances."""
        self._own = preferred_partitions(instance, live, self._jobs.partitions)
        self._is_alone = len(set(live) | {instance}) == 1

    def on_capacity(
        self, capacities: Iterable[tuple[str, str, bool]], traces: Mapping[str, str] | None = None
    ) -> None:
        """Note pools that came online or have room again: (pool, worker id, online). ``traces`` has the trace ids of
        what brought workers online.

        A pool nobody here waits for is probed at most once a second, because another replica may have
        parked its jobs; not at all while the last turn found no parked job of anybody.
        """
        now = monotonic_s()
        for pool, worker_id, online in capacities:
            if online:
                self._online[pool] = (worker_id, (traces or {}).get(worker_id, ""))
            elif pool not in self._submits.waiting:
                idle = not self._any_parked and self._is_alone
                if idle or now - self._probed_s.get(pool, 0.0) < _PROBE_EVERY_S:
                    continue
                self._probed_s[pool] = now
            self._pools.add(pool)
        if self._pools:
            self._capacity.set()

    async def run(self) -> None:
        """Lease due jobs and have them processed; sleep until the first parked job is due.

        At most for a tenth of a second, because other replicas park jobs here, too; own ones turn the wheel at once.
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
        """Take what is due now; return seconds until the wheel has to turn again."""
        now = now_us()
        earliest = await earliest_due(self._jobs, self._own)
        self._any_parked = bool(earliest)
        ready = [partition for at_us, partition in earliest if at_us <= now]
        if not ready:
            limit_s = _ALONE_S if self._is_alone else _TICK_S
            next_us = min((at_us for at_us, _ in earliest), default=now + 1_000_000)
            return min(max((next_us - now) / 1e6, _TICK_S), limit_s)
        share = max(1, self._submits.batch // len(ready))
        due = await lease_due(self._jobs, ready, now_us=now, limit=share)
        await self._submits.feed(due)
        return 0.0 if due else _TICK_S

    async def _pause(self, wait_s: float) -> None:
        if wait_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._turn.wait()
        self._turn.clear()

    async def watch_capacity(self) -> None:
        """Have the first in line of pools with room processed at once."""
        while True:
            await self._capacity.wait()
            await asyncio.sleep(_COALESCE_S)
            self._capacity.clear()
            pools, self._pools = self._pools, set()
            online, self._online = self._online, {}
            for pool in pools:
                try:
                    if pool in online:
                        await self._flush(pool, *online[pool])
                    else:
                        await self._submits.feed(await self._wake(pool))
                except CordumError as error:
                    _log.warning("waiting jobs not woken", pool=pool, error=str(error))

    async def _flush(self, pool: str, worker_id: str, trace_id: str) -> None:
        """A pool came online: whoever waits for it tries now, as long as there is room (scheduler spec §16.3)."""
        dispatched = 0
        while ids := await self._wake(pool):
            placed = 0
            for start in range(0, len(ids), self._submits.batch):
                placed += await self._submits.handle_due(ids[start : start + self._submits.batch])
            dispatched += placed
            if placed < len(ids):
                break
        if dispatched:
            metrics.FLUSHES.labels(pool).inc()
            _log.info(
                "flush on worker online",
                pool=pool,
                worker_id=worker_id,
                dispatched=dispatched,
                trace_id=trace_id,
            )

    async def _wake(self, pool: str) -> list[str]:
        """Take as many of those who wait for a pool as it has room for."""
        room = self._planner.room(pool)
        if room <= 0:
            return []
        held = self._submits.held
        limit = min(room + len(held), _WAKE_MAX)
        ids, front = await wake_pool(self._jobs, pool, now_us=now_us(), limit=limit)
        self._planner.looked_at_line(pool, front)
        if front is None:
            self._submits.waiting.discard(pool)
        return [job_id for job_id in ids if job_id not in held][: min(room, _WAKE_MAX)]
