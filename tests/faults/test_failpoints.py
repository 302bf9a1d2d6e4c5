"""A scheduler dies between every two steps of its pipelines, and no promise is broken (scheduler spec §31.2)."""

from pathlib import Path

import pytest

from cordum.runtime.failpoints import RESULT_STEPS, SUBMIT_STEPS
from tests.faults.field import Field, fault_field
from tests.support.processes import wait_until
from tests.support.stack import StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(240)]

_JOBS = 25


async def _die_at(field: Field, step: str) -> None:
    """Let one of the schedulers die at a step while jobs flow; it is not started again here."""
    victim = field.stack.extra_scheduler({"CORDUM_FAILPOINTS": f"{step}=kill"})

    async def dead() -> bool:
        if victim.is_running:
            # The other one may have been faster.
            await field.submitter.submit(1)
        return not victim.is_running

    try:
        await victim.start()
        await field.submitter.submit(_JOBS)
        await wait_until(dead, timeout_s=30, interval_s=0.2)
    finally:
        victim.kill()


@pytest.mark.parametrize("steps", [SUBMIT_STEPS, RESULT_STEPS], ids=["submit", "result"])
async def test_a_crash_between_any_two_steps_breaks_no_promise(
    tmp_path: Path, steps: tuple[str, ...]
) -> None:
    # A dispatch of a dead replica is settled after its instance key is gone, long after the dispatch time-out.
    options = StackOptions(schedulers=1, gateway=False, dispatch_timeout_s=60, running_timeout_s=120)
    async with fault_field(tmp_path, options, workers=2) as field:
        for step in steps:
            await _die_at(field, step)
        await field.verdict(timeout_s=90)
        assert await field.states() == {"SUCCEEDED": len(field.submitted)}


async def test_production_refuses_failpoints(tmp_path: Path) -> None:
    async with fault_field(tmp_path, StackOptions(gateway=False)) as field:
        environment = {"CORDUM_FAILPOINTS": "submit.read=kill", "CORDUM_ENV": "production"}
        refused = field.stack.extra_scheduler(environment)
        refused.launch()
        await wait_until(lambda: not refused.is_running, timeout_s=20)
        assert "CORDUM_FAILPOINTS" in refused.tail()
