"""The servers we stand on die and come back with their data."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.field import fault_field
from tests.support.stack import StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(120)]

_SLICES = 6
_SLICE = 150


async def test_a_killed_nats_loses_no_job_and_doubles_none(tmp_path: Path) -> None:
    # What a worker misses while NATS is away it never gets, so some jobs may end by time-out.
    options = StackOptions(schedulers=2, gateway=False, dispatch_timeout_s=4, running_timeout_s=5)
    async with fault_field(tmp_path, options, workers=2) as field:

        async def submit() -> None:
            for _ in range(_SLICES):
                await field.submitter.submit(_SLICE)

        async with asyncio.TaskGroup() as group:
            group.create_task(submit())
            await field.observer.reach(_SLICE)
            field.stack.nats.kill()
            field.stack.nats.start()
        evidence = await field.verdict(timeout_s=60, bus_died=True)
        confirmed = [
            await scheduler.metric("cordum_bus_publish_total", stream="CORDUM_JOBS", outcome="ok")
            for scheduler in field.stack.schedulers
        ]
        assert 0 < sum(confirmed) <= len(evidence.stored), "a confirmed dispatch is gone"
        states = await field.states()
        assert states.keys() <= {"SUCCEEDED", "TIMEOUT"}
        assert states["SUCCEEDED"] >= _SLICE


async def test_a_killed_redis_loses_no_job_and_doubles_none(tmp_path: Path) -> None:
    # A worker that cannot reach Redis reports a failure, or its result is never written: both end the job.
    options = StackOptions(
        schedulers=2, gateway=False, dispatch_timeout_s=4, running_timeout_s=5, redis_fsync="always"
    )
    async with fault_field(tmp_path, options, workers=2) as field:
        slices = [await field.submitter.prepare(_SLICE) for _ in range(_SLICES)]

        async def publish() -> None:
            for part in slices:
                await field.submitter.publish(part)

        async with asyncio.TaskGroup() as group:
            group.create_task(publish())
            await field.observer.reach(_SLICE)
            field.stack.redis.kill()
            field.stack.redis.start()
        await field.verdict(timeout_s=60)
        states = await field.states()
        assert states.keys() <= {"SUCCEEDED", "FAILED", "TIMEOUT"}
        assert states["SUCCEEDED"] >= _SLICE
