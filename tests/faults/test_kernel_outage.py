"""The safety kernel is gone for a while: jobs wait, none fails, none runs unjudged (policy spec §25.6)."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from cordum.store import keys
from cordum.store.jobs import JobStore
from tests.faults.field import Field, fault_field
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

_JOBS = 100
_GONE_S = 16.0
# 5 s by the specification, and what a shared machine adds.
_GAP_S = 5.5


async def _attempts(jobs: JobStore, ids: Sequence[str], for_s: float) -> dict[str, list[int]]:
    """Collect the times (µs) at which each job was tried."""
    seen: dict[str, list[int]] = defaultdict(list)
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        for job_id, row in zip(
            ids, await jobs.fields(ids, ("safety_decision", "safety_checked_at")), strict=True
        ):
            if row[0] == b"UNAVAILABLE" and row[1] is not None and int(row[1]) not in seen[job_id][-1:]:
                seen[job_id].append(int(row[1]))
        await asyncio.sleep(0.2)
    return seen


async def _deferrals(field: Field) -> float:
    return sum(
        [await scheduler.metric("cordum_safety_unavailable_total") for scheduler in field.stack.schedulers]
    )


async def test_a_hundred_jobs_wait_for_the_kernel_and_are_all_decided_soon_after_it_is_back(
    tmp_path: Path,
) -> None:
    async with fault_field(tmp_path, StackOptions(schedulers=2, gateway=False), workers=2) as field:
        field.stack.kernel.kill()
        ids = await field.submitter.submit(_JOBS)
        tried = await _attempts(field.jobs, ids, _GONE_S)

        assert await field.states() == {"PENDING": _JOBS}
        assert field.observer.dispatches == []
        assert await _deferrals(field) >= _JOBS * 4
        gaps = [(b - a) / 1e6 for times in tried.values() for a, b in itertools.pairwise(times)]
        assert len(tried) == _JOBS
        assert max(gaps) <= _GAP_S
        assert await field.jobs.client.execute("EXISTS", keys.BREAKER_SAFETY + "tripped") == 1
        records = await field.jobs.get_many(ids)
        assert {record["attempts"] for record in records if record and "attempts" in record} == set()
        assert {record.get("route_failures") for record in records if record} == {None}

        await field.stack.kernel.start()
        back_s = time.monotonic()
        await field.observer.reach(_JOBS, timeout_s=30)
        assert time.monotonic() - back_s <= 6.0
        await field.verdict(timeout_s=30)
        assert await field.states() == {"SUCCEEDED": _JOBS}


async def test_a_frozen_kernel_opens_the_circuit_and_is_not_asked_by_every_batch(tmp_path: Path) -> None:
    async with fault_field(tmp_path, StackOptions(gateway=False)) as field:
        field.stack.kernel.pause()
        ids = await field.submitter.submit(5)
        breaker = keys.BREAKER_SAFETY + "tripped"

        async def is_open() -> bool:
            return bool(await field.jobs.client.execute("EXISTS", breaker))

        await wait_until(is_open, timeout_s=30)

        async def told_so() -> bool:
            rows = await field.jobs.fields(ids, ("safety_reason",))
            return {row[0] for row in rows} == {b"safety kernel circuit open"}

        await wait_until(told_so)
        decisions = await field.jobs.decisions(ids[0])
        assert decisions[0]["decision"] == "UNAVAILABLE"
        field.stack.kernel.proceed()
        await field.all_run(timeout_s=45)
        assert await field.states() == {"SUCCEEDED": 5}


async def test_an_open_fail_mode_runs_jobs_while_the_kernel_is_away_and_counts_them(tmp_path: Path) -> None:
    options = StackOptions(gateway=False, environment={"POLICY_CHECK_FAIL_MODE": "open"})
    async with fault_field(tmp_path, options) as field:
        field.stack.kernel.kill()
        await field.submitter.submit(3)
        await field.all_run()
        assert await field.states() == {"SUCCEEDED": 3}
        scheduler = field.stack.schedulers[0]
        assert await scheduler.metric("cordum_input_fail_open_total", topic="job.test.echo") == 3
        assert await field.jobs.client.execute("GET", keys.INPUT_FAIL_OPEN) == b"3"
        assert '"safety.bypass_admit"' in scheduler.tail(100_000)
        decisions = await field.jobs.decisions(field.submitted[0])
        assert decisions[0]["decision"] == "UNAVAILABLE"


async def test_the_stored_fail_mode_wins_over_the_environment(tmp_path: Path) -> None:
    options = StackOptions(gateway=False, environment={"POLICY_CHECK_FAIL_MODE": "open"})
    async with fault_field(tmp_path, options) as field:
        await field.jobs.client.execute(
            "SET",
            keys.config_document("system", "default"),
            b'{"data":{"scheduler":{"input_fail_mode":"closed"}},"revision":1}',
        )
        field.stack.kernel.kill()
        await field.submitter.submit(3)

        async def deferred() -> bool:
            return await _deferrals(field) >= 6

        await wait_until(deferred)
        assert await field.states() == {"PENDING": 3}
        assert field.observer.dispatches == []


async def test_production_does_not_start_with_an_open_fail_mode(tmp_path: Path) -> None:
    environment = {"POLICY_CHECK_FAIL_MODE": "open", "CORDUM_ENV": "production"}
    # It ends before it needs any server.
    refused = Stack(tmp_path, StackOptions()).extra_scheduler(environment)
    refused.launch()
    await wait_until(lambda: not refused.is_running, timeout_s=60)
    assert refused.exit_code == 1
    assert "POLICY_CHECK_FAIL_MODE" in refused.tail()
