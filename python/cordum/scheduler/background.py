"""Wiring of the sweeps (scheduler spec §15, §16.2)."""

from cordum.bus.connection import Bus
from cordum.scheduler.approval_repair import ApprovalRepair
from cordum.scheduler.lost import LostDispatches
from cordum.scheduler.moves import Moves
from cordum.scheduler.parts import Parts
from cordum.scheduler.reconciler import Reconciler, ReplayLoop
from cordum.scheduler.replayer import Replayer, StuckScheduled
from cordum.scheduler.timeouts import Timeouts
from cordum.scheduler.upkeep import Upkeep
from cordum.store import keys
from cordum.store.jobs import JobStore
from cordum.store.locks import LeaderLock

__all__ = ["background"]


def background(parts: Parts, bus: Bus, jobs: JobStore) -> tuple[Reconciler, ReplayLoop]:
    """Return the loops that look after jobs nobody else looks after. The configuration has been loaded."""
    planner, configuration, duties = parts.planner, parts.configuration, parts.duties
    moves = Moves(planner, jobs, duties, parts.side)

    def leader(key: str) -> LeaderLock:
        return LeaderLock(jobs.client, key, lambda: 2 * configuration.scan_interval_s)

    lost = LostDispatches(
        planner,
        jobs,
        moves,
        duties,
        parts.side,
        parts.configs,
        parts.departures,
        lambda: bus.is_connected,
        lambda: configuration.dispatch_timeout_s,
    )
    reconciler = Reconciler(
        jobs,
        leader(keys.LOCK_RECONCILER),
        StuckScheduled(jobs, moves, configuration),
        lost,
        Timeouts(planner, jobs, moves, configuration),
        ApprovalRepair(jobs, parts.blobs, parts.safety, parts.configs, duties),
        Upkeep(jobs),
        parts.settler,
        duties,
    )
    return reconciler, ReplayLoop(leader(keys.LOCK_REPLAYER), Replayer(planner, jobs, configuration))
