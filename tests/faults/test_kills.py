"""Processes of ours die; no job does."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.faults.field import Field, fault_field
from tests.support.processes import wait_until
from tests.support.stack import StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

_KILLS = 20
_JOBS_PER_KILL = 250
_KERNEL_GONE_S = 10.0


async def _kill_in_mid_flow(field: Field, turn: int) -> None:
    """Submit a burst and kill one replica once part of the burst has been dispatched."""
    victim = field.stack.schedulers[turn % 2]
    before = len(field.observer.dispatches)
    await field.http.submit(_JOBS_PER_KILL)
    await field.observer.reach(before + random.randint(1, 60))
    victim.kill()
    # The other replica carries on; the next kill hits it, so the first one must be back by then.
    await victim.start()


async def test_killing_a_scheduler_twenty_times_loses_no_job_and_runs_none_twice(tmp_path: Path) -> None:
    # A dispatch of a dead replica is settled long after the dispatch time-out, and must still be published.
    options = StackOptions(schedulers=2, dispatch_timeout_s=5, running_timeout_s=60)
    async with fault_field(tmp_path, options, workers=3) as field:
        for turn in range(_KILLS):
            await _kill_in_mid_flow(field, turn)
        await field.verdict(timeout_s=60)
        assert await field.states() == {"SUCCEEDED": _KILLS * _JOBS_PER_KILL}


async def test_without_the_kernel_nothing_is_dispatched_and_all_flows_once_it_is_back(tmp_path: Path) -> None:
    async with fault_field(tmp_path, StackOptions(schedulers=2, gateway=False), workers=2) as field:
        await field.submitter.submit(50)
        await field.observer.reach(50)
        field.stack.kernel.kill()
        dispatched = len(field.observer.dispatches)
        waiting = await field.submitter.submit(200)

        async def all_refused() -> bool:
            counted = [
                await scheduler.metric("cordum_safety_unavailable_total")
                for scheduler in field.stack.schedulers
            ]
            return sum(counted) >= len(waiting)

        await wait_until(all_refused, timeout_s=10)
        await asyncio.sleep(_KERNEL_GONE_S)
        assert len(field.observer.dispatches) == dispatched
        rows = await field.jobs.fields(waiting, ("state",))
        assert {row[0] for row in rows} == {b"PENDING"}

        await field.stack.kernel.start()
        back_s = time.monotonic()
        await field.observer.reach(dispatched + len(waiting), timeout_s=30)
        assert time.monotonic() - back_s <= 6.0
        await field.verdict(timeout_s=30)
        assert await field.states() == {"SUCCEEDED": 250}
