"""Back-pressure of the submit side (scheduler spec §32).

A slow store or bus gets smaller batches, one at a time; a store that does not answer stops the intake until it does
again; so do too many parked jobs. What is not taken stays in the stream. Results are never slowed down by any of it,
but a store that is away stops them as well.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog

from cordum.domain.errors import CordumError
from cordum.scheduler import metrics

__all__ = ["Intake", "Pace"]

COMMIT_LIMIT_S: Final = 0.25
PUBLISH_LIMIT_S: Final = 1.0
BATCH_MIN: Final = 16
_WINDOW_S: Final = 10.0
_SAMPLES_MAX: Final = 1_000
_RECOVER_S: Final = 5.0
_PROBE_S: Final = 1.0
_COUNT_EVERY_S: Final = 2.0

_log = structlog.get_logger("cordum.scheduler")


class Intake(Protocol):
    """What can be paused: a consumer."""

    def pause(self) -> None:
        """Start no further batches."""

    def resume(self) -> None:
        """Go on after `pause`."""


class _Stage:
    """Recent durations of one network stage."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES_MAX)

    def add(self, now_s: float, took_s: float) -> bool:
        """Note one duration; tell whether the 99th percentile of the last ten seconds is above the limit."""
        self._samples.append((now_s, took_s))
        while self._samples[0][0] < now_s - _WINDOW_S:
            self._samples.popleft()
        if took_s <= self._limit_s:
            return False
        ordered = sorted(took for _, took in self._samples)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] > self._limit_s

    def forget(self) -> None:
        self._samples.clear()


class Pace:
    """How many jobs and batches the submit side takes at once; ``clock_s`` is monotonic."""

    def __init__(self, batch_max: int, in_flight: int, max_parked: int, clock_s: Callable[[], float]) -> None:
        self._batch_max = batch_max
        self._in_flight_max = in_flight
        self._max_parked = max_parked
        self._clock_s = clock_s
        self._stages = {"commit": _Stage(COMMIT_LIMIT_S), "publish": _Stage(PUBLISH_LIMIT_S)}
        self._slow_s = -math.inf
        self._running = 0
        self._freed = asyncio.Condition()
        self._broken = asyncio.Event()
        self._submits: Intake | None = None
        self._results: Intake | None = None
        self._is_full = False
        self.batch = batch_max
        """Jobs of a batch at most, now."""

    @property
    def in_flight(self) -> int:
        """Batches at once at most, now."""
        return self._in_flight_max if self.batch == self._batch_max else 1

    def attach(self, submits: Intake, results: Intake) -> None:
        """Name the consumers that are paused and resumed."""
        self._submits, self._results = submits, results

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until one more batch may run, and hold its place."""
        async with self._freed:
            await self._freed.wait_for(lambda: self._running < self.in_flight)
            self._running += 1
        try:
            yield
        finally:
            async with self._freed:
                self._running -= 1
                self._freed.notify_all()

    def took(self, stage: str, took_s: float) -> None:
        """Note how long a stage (`commit`, `publish`) took: halves the batch size or lets it grow again."""
        now_s = self._clock_s()
        if self._stages[stage].add(now_s, took_s):
            self.batch = max(min(BATCH_MIN, self._batch_max), self.batch // 2)
            self._slow_s = now_s
            for known in self._stages.values():
                # The next decision is about batches of the new size.
                known.forget()
            _log.warning("slow, batches are halved", stage=stage, took_s=round(took_s, 3), batch=self.batch)
        elif self.batch < self._batch_max and now_s - self._slow_s >= _RECOVER_S:
            self.batch = min(self._batch_max, self.batch * 2)
            self._slow_s = now_s
            _log.info("fast again, batches grow", batch=self.batch)
        metrics.BATCH_LIMIT.set(self.batch)

    def store_failed(self) -> None:
        """Stop both intakes until the store answers again."""
        if self._broken.is_set():
            return
        self._broken.set()
        for intake in (self._submits, self._results):
            if intake is not None:
                intake.pause()
        _log.warning("store does not answer, intake stops")

    async def run_probes(self, ping: Callable[[], Awaitable[None]]) -> None:
        """While the store is away, ask for it every second; resume when it answers."""
        while True:
            await self._broken.wait()
            await asyncio.sleep(_PROBE_S)
            try:
                await ping()
            except CordumError:
                continue
            self._broken.clear()
            if self._results is not None:
                self._results.resume()
            self._resume_submits()
            _log.info("store answers again, intake goes on")

    async def run_counting(self, count: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        """Show how many jobs are parked, per cause, and stop the intake of submits while they are too many."""
        while True:
            try:
                self.parked(await count())
            except CordumError as error:
                _log.warning("parked jobs not counted", error=error.message)
            await asyncio.sleep(_COUNT_EVERY_S)

    def parked(self, counts: Mapping[str, int]) -> None:
        """Note how many jobs are parked, per cause."""
        for cause, number in counts.items():
            metrics.PARKED_JOBS.labels(cause).set(number)
        total = sum(counts.values())
        if total > self._max_parked and not self._is_full:
            self._is_full = True
            _log.warning("too many parked jobs, no submits are taken", parked=total, limit=self._max_parked)
            if self._submits is not None:
                self._submits.pause()
        elif total <= self._max_parked and self._is_full:
            self._is_full = False
            _log.info("submits are taken again", parked=total)
            self._resume_submits()

    def _resume_submits(self) -> None:
        if self._submits is not None and not self._is_full and not self._broken.is_set():
            self._submits.resume()
