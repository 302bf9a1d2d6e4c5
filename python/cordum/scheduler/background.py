"""Wiring of the sweeps (scheduler spec §15, §16.2)."""

from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.scheduler.approval_repair import ApprovalRepair
from cordum.scheduler.configuration import Configuration
from cordum.scheduler.duties import Duties
from cordum.scheduler.lost import Departures, LostDispatches
from cordum.scheduler.moves import Moves
from cordum.scheduler.reconciler import Reconciler, ReplayLoop
from cordum.scheduler.replayer import Replayer, StuckScheduled
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.settling import Settler
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.timeouts import Timeouts
from cordum.scheduler.upkeep import Upkeep
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore
from cordum.store.locks import LeaderLock

__all__ = ["background"]


def background(
    planner: Planner,
    jobs: JobStore,
    bus: Bus,
    blobs: BlobStore,
    safety: SafetyClient,
    configs: EffectiveConfigs,
    configuration: Configuration,
    departures: Departures,
    settler: Settler,
    duties: Duties,
    side_writes: SideWrites,
) -> tuple[Reconciler, ReplayLoop]:
    """Return the loops that look after jobs nobody else looks after. ``configuration`` has been loaded."""
    moves = Moves(planner, jobs, duties, side_writes)

    def leader(key: str) -> LeaderLock:
        return LeaderLock(jobs.client, key, lambda: 2 * configuration.scan_interval_s)

    lost = LostDispatches(
        planner,
        jobs,
        moves,
        duties,
        side_writes,
        configs,
        departures,
        lambda: bus.is_connected,
        lambda: configuration.dispatch_timeout_s,
    )
    reconciler = Reconciler(
        jobs,
        leader(keys.LOCK_RECONCILER),
        StuckScheduled(jobs, moves, configuration),
        lost,
        Timeouts(planner, jobs, moves, configuration),
        ApprovalRepair(jobs, blobs, safety, configs, duties),
        Upkeep(jobs),
        settler,
        duties,
    )
    return reconciler, ReplayLoop(leader(keys.LOCK_REPLAYER), Replayer(planner, jobs, configuration))
