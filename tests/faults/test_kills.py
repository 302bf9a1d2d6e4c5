"""Processes of ours die; no job does."""

import random
import time
from pathlib import Path

import pytest

from tests.faults.field import Field, fault_field
from tests.support.stack import StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

_KILLS = 6
_JOBS_PER_KILL = 100
# The ack wait (30 s) and what a sweep adds (scheduler spec §31.2).
_RECOVERY_S = 35.0


async def _kill_in_mid_flow(field: Field, turn: int) -> None:
    """Submit a burst and kill one replica once part of the burst has been dispatched."""
    victim = field.stack.schedulers[turn % 2]
    before = len(field.observer.dispatches)
    await field.http.submit(_JOBS_PER_KILL)
    await field.observer.reach(before + random.randint(1, 60))
    victim.kill()
    # The other replica carries on; the next kill hits it, so the first one must be back by then.
    await victim.start()


async def test_killing_schedulers_again_and_again_loses_no_job_and_runs_none_twice(tmp_path: Path) -> None:
    # A dispatch of a dead replica is settled long after the dispatch time-out, and must still be published.
    options = StackOptions(schedulers=2, dispatch_timeout_s=5, running_timeout_s=60)
    async with fault_field(tmp_path, options, workers=3) as field:
        for turn in range(_KILLS):
            await _kill_in_mid_flow(field, turn)
        await field.verdict(timeout_s=60)
        assert await field.states() == {"SUCCEEDED": _KILLS * _JOBS_PER_KILL}


async def test_two_replicas_carry_on_within_35_s_when_a_third_dies(tmp_path: Path) -> None:
    options = StackOptions(schedulers=3, gateway=False, dispatch_timeout_s=60, running_timeout_s=60)
    async with fault_field(tmp_path, options, workers=2) as field:
        await field.submitter.submit(_JOBS_PER_KILL)
        await field.observer.reach(random.randint(1, _JOBS_PER_KILL // 2), timeout_s=60)
        field.stack.schedulers[0].kill()
        killed_s = time.monotonic()
        await field.submitter.submit(_JOBS_PER_KILL)
        await field.all_run(timeout_s=_RECOVERY_S)
        assert time.monotonic() - killed_s <= _RECOVERY_S
        await field.verdict(timeout_s=60)
        assert await field.states() == {"SUCCEEDED": 2 * _JOBS_PER_KILL}
