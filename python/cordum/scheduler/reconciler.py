"""Time-outs, repairs and gauges; one leader per tick (scheduler spec §15), and the replay of orphans (§16.2)."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from cordum.domain.errors import CordumError
from cordum.domain.states import JobState
from cordum.scheduler import metrics
from cordum.scheduler.approval_repair import ApprovalRepair
from cordum.scheduler.duties import Duties
from cordum.scheduler.lost import LostDispatches
from cordum.scheduler.replayer import Replayer, StuckScheduled
from cordum.scheduler.settling import Settler
from cordum.scheduler.timeouts import Timeouts
from cordum.scheduler.upkeep import Upkeep
from cordum.store import keys
from cordum.store.jobs import JobStore
from cordum.store.locks import LeaderLock
from cordum.telemetry import approvals

__all__ = ["Reconciler", "ReplayLoop"]

_SETTLE_EVERY_S: Final = 2.5
_STALE_STATES: Final = ("scheduled", "dispatched", "running", "retrying", "approval_required")

_log = structlog.get_logger("cordum.scheduler")


class Reconciler:
    """Runs the sweeps in the order of the spec. A sweep that fails does not keep the others from running."""

    def __init__(
        self,
        jobs: JobStore,
        leader: LeaderLock,
        stuck: StuckScheduled,
        lost: LostDispatches,
        timeouts: Timeouts,
        approval_repair: ApprovalRepair,
        upkeep: Upkeep,
        settler: Settler,
        duties: Duties,
    ) -> None:
        self._jobs = jobs
        self._leader = leader
        self._stuck = stuck
        self._lost = lost
        self._timeouts = timeouts
        self._approvals = approval_repair
        self._upkeep = upkeep
        self._settler = settler
        self._duties = duties
        self._stale: Counter[str] = Counter()
        self.leading = False

    async def run(self, interval_s: Callable[[], float]) -> None:
        """Tick for ever."""
        while True:
            await _guarded("tick", self._tick)
            await asyncio.sleep(interval_s())

    async def run_settling(self) -> None:
        """Settle unconfirmed dispatches and unfinished duties more often than the tick."""
        while True:
            await _guarded("settling", self._settle)
            await asyncio.sleep(_SETTLE_EVERY_S)

    async def _settle(self) -> None:
        await self._settler.sweep(leading=self.leading)
        if self.leading:
            await self._duties.sweep()

    async def _tick(self) -> None:
        try:
            self.leading = await self._leader.try_lead()
        except CordumError:
            self.leading = False
            raise
        finally:
            if not self.leading:
                # Whoever leads now tells; what this process told as a leader would be counted twice.
                self._publish_stale(Counter())
                approvals.QUEUE_DEPTH.labels("all").set(0)
        if self.leading:
            await self._leader.lead(self._sweep)

    async def _sweep(self) -> None:
        self._stale = Counter()
        for name, step in (
            ("scheduled", self._sweep_scheduled),
            ("lost dispatches", self._sweep_lost),
            ("limits", self._sweep_limits),
            ("time-outs", self._sweep_due),
            ("deadlines", self._sweep_deadlines),
            ("approvals", self._approvals.sweep),
            ("lists", self._upkeep.sweep),
            ("gauges", self._measure),
        ):
            await _guarded(name, step)
        self._publish_stale(self._stale)

    async def _sweep_scheduled(self) -> None:
        self._stale["scheduled"] += await self._stuck.sweep()

    async def _sweep_lost(self) -> None:
        self._stale["dispatched"] += await self._lost.sweep()

    async def _sweep_limits(self) -> None:
        if await self._timeouts.follow_limits():
            _log.info("jobs under way follow the time-outs of the configuration")

    async def _sweep_due(self) -> None:
        self._stale += await self._timeouts.sweep_due()

    async def _sweep_deadlines(self) -> None:
        self._stale += await self._timeouts.sweep_deadlines()

    async def _measure(self) -> None:
        index = [keys.job_index(tag, JobState.APPROVAL_REQUIRED) for tag in self._jobs.tags]
        replies = await self._jobs.client.pipeline([("ZCARD", key) for key in index])
        approvals.QUEUE_DEPTH.labels("all").set(sum(reply for reply in replies if isinstance(reply, int)))

    @staticmethod
    def _publish_stale(stale: Counter[str]) -> None:
        for state in _STALE_STATES:
            metrics.STALE.labels(state).set(stale[state])


class ReplayLoop:
    """Feeds orphans at the start and every scan interval, under a lock of its own."""

    def __init__(self, leader: LeaderLock, replayer: Replayer) -> None:
        self._leader = leader
        self._replayer = replayer

    async def run(self, interval_s: Callable[[], float]) -> None:
        """Replay for ever."""
        while True:
            await _guarded("replay", self._turn)
            await asyncio.sleep(interval_s())

    async def _turn(self) -> None:
        if await self._leader.try_lead():
            await self._leader.lead(self._replay)

    async def _replay(self) -> None:
        await _guarded("orphans", self._sweep)

    async def _sweep(self) -> None:
        await self._replayer.sweep()


async def _guarded(name: str, step: Callable[[], Awaitable[None]]) -> None:
    try:
        await step()
    except CordumError as error:
        _log.warning("sweep postponed", sweep=name, error=str(error))
