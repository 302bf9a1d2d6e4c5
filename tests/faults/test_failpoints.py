"""A scheduler dies between every two steps of its pipelines, and no promise is broken (scheduler spec §31.2)."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from cordum.runtime.failpoints import RESULT_STEPS, SUBMIT_STEPS
from tests.faults.field import Field, fault_field
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

_AT_ONCE = 4
_BURST = 10


async def _die_at(field: Field, steps: Sequence[str]) -> None:
    """Let a scheduler die at each of these steps while jobs flow; none of them is started again."""
    victims = {
        step: field.stack.extra_scheduler({"CORDUM_FAILPOINTS": f"{step}=kill"}, name=step) for step in steps
    }

    async def all_dead() -> bool:
        # Those that live may have been faster.
        await field.submitter.submit(_BURST)
        return not any(victim.is_running for victim in victims.values())

    try:
        for victim in victims.values():
            victim.launch()
        await wait_until(all_dead, timeout_s=90, interval_s=0.3)
        for step, victim in victims.items():
            assert victim.exit_code == -signal.SIGKILL, f"{step}: {victim.tail()}"
    finally:
        for victim in victims.values():
            victim.kill()


async def test_a_crash_between_any_two_steps_breaks_no_promise(tmp_path: Path) -> None:
    # A dispatch of a dead replica is settled after its instance key is gone, long after the dispatch time-out.
    options = StackOptions(schedulers=1, gateway=False, dispatch_timeout_s=60, running_timeout_s=120)
    async with fault_field(tmp_path, options, workers=2) as field:
        steps = (*SUBMIT_STEPS, *RESULT_STEPS)
        for start in range(0, len(steps), _AT_ONCE):
            await _die_at(field, steps[start : start + _AT_ONCE])
        await field.verdict(timeout_s=120)
        assert await field.states() == {"SUCCEEDED": len(field.submitted)}


async def test_production_refuses_failpoints(tmp_path: Path) -> None:
    environment = {"CORDUM_FAILPOINTS": "submit.read=kill", "CORDUM_ENV": "production"}
    # It ends before it needs any server.
    refused = Stack(tmp_path, StackOptions()).extra_scheduler(environment)
    refused.launch()
    await wait_until(lambda: not refused.is_running, timeout_s=60)
    assert refused.exit_code == 1
    assert "CORDUM_FAILPOINTS" in refused.tail()
