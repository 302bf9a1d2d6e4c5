"""Nodes of the clusters we stand on die while jobs flow (scheduler spec §31; architecture §6 and §7)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from cordum.domain.states import TERMINAL_STATES
from cordum.protocol import subjects
from tests.faults.field import Field, fault_field
from tests.support.processes import wait_until
from tests.support.stack import StackOptions

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

_SLICES = 5
_SLICE = 40


async def _while_jobs_flow(field: Field, disturb: Callable[[], Awaitable[None]]) -> None:
    """Disturb the system once the first slice of jobs is on its way and while the others are submitted."""
    slices = [await field.submitter.prepare(_SLICE) for _ in range(_SLICES)]

    async def publish() -> None:
        for part in slices:
            await field.submitter.publish(part)

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        await field.observer.reach(_SLICE // 2, timeout_s=60)
        await disturb()


async def ended(field: Field, job_ids: Sequence[str]) -> set[bytes | None]:
    """Wait until these jobs have ended and return their states."""

    async def all_ended() -> set[bytes | None]:
        states = {state for (state,) in await field.jobs.fields(job_ids, ("state",))}
        return states if states <= {str(state).encode() for state in TERMINAL_STATES} else set()

    found: set[bytes | None] = await wait_until(all_ended, timeout_s=60)
    return found


async def test_a_primary_of_a_redis_cluster_dies_and_no_job_is_lost_or_doubled(tmp_path: Path) -> None:
    # A worker whose result cannot be written reports a failure, or nothing at all: both end the job.
    options = StackOptions(
        schedulers=2, gateway=False, redis_cluster=True, dispatch_timeout_s=30, running_timeout_s=10
    )
    async with fault_field(tmp_path, options, workers=2) as field:
        cluster = field.stack.redis_cluster
        assert cluster is not None
        await _while_jobs_flow(field, lambda: cluster.fail_over(cluster.primaries[1]))

        async def jobs_succeed_again() -> bool:
            # The workers' own client may take a little longer to find the new primary.
            rows = await ended(field, await field.submitter.submit(_SLICE))
            return b"SUCCEEDED" in rows

        await wait_until(jobs_succeed_again, timeout_s=60)
        await field.verdict(timeout_s=120)
        states = await field.states()
        assert states.keys() <= {"SUCCEEDED", "FAILED", "TIMEOUT"}
        assert states["SUCCEEDED"] >= _SLICE


async def test_the_leader_of_a_stream_dies_and_no_job_is_lost_or_doubled(tmp_path: Path) -> None:
    # What a worker misses while its node is away it never gets, so some jobs may end by time-out.
    options = StackOptions(
        schedulers=2, gateway=False, nats_cluster=True, dispatch_timeout_s=10, running_timeout_s=10
    )
    async with fault_field(tmp_path, options, workers=2) as field:
        cluster = field.stack.nats_cluster
        assert cluster is not None
        leader = await cluster.leader_of(subjects.STREAM_SYS)
        await _while_jobs_flow(field, partial(asyncio.to_thread, leader.kill))
        later = await field.submitter.submit(_SLICE)
        await field.verdict(timeout_s=120, bus_died=True)
        states = await field.states()
        assert states.keys() <= {"SUCCEEDED", "TIMEOUT"}
        assert states["SUCCEEDED"] >= _SLICE
        assert await cluster.leader_of(subjects.STREAM_SYS) is not leader
        rows = await field.jobs.fields(later, ("state",))
        assert all(state in {b"SUCCEEDED", b"TIMEOUT"} for (state,) in rows)
