"""What a scheduler shows that does not lead (scheduler spec §15, §24)."""

import asyncio
from typing import Any

from cordum.scheduler import metrics
from cordum.scheduler.reconciler import Reconciler
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.locks import LeaderLock
from cordum.telemetry import approvals
from tests.support.processes import wait_until


async def test_the_gauges_of_a_former_leader_return_to_zero(redis_client: RedisClient) -> None:

    other = LeaderLock(redis_client, keys.LOCK_RECONCILER, lambda: 60)
    assert await other.try_lead()
    unused: Any = None
    ours = LeaderLock(redis_client, keys.LOCK_RECONCILER, lambda: 60)
    reconciler = Reconciler(unused, ours, unused, unused, unused, unused, unused, unused, unused)
    metrics.STALE.labels("running").set(4)
    approvals.QUEUE_DEPTH.labels("all").set(7)

    def shown() -> tuple[float, float]:
        return metrics.STALE.labels("running")._value.get(), approvals.QUEUE_DEPTH.labels("all")._value.get()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reconciler.run(lambda: 60))
        await wait_until(lambda: shown() == (0, 0), timeout_s=10)
        running.cancel()
    assert not reconciler.leading
