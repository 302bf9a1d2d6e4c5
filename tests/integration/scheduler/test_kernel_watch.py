"""A circuit that is open because nobody listened lets probes pass as soon as somebody does (policy spec §15.2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from cordum.protocol.kernel_client import KernelCallFailed, PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.scheduler.kernel_watch import KernelWatch
from cordum.store import keys
from cordum.store.breaker import BreakerState, CircuitBreaker
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def open_circuit(folder: Path, status: grpc.StatusCode) -> AsyncIterator[CircuitBreaker]:
    """Run a kernel that serves, and a watch of a circuit whose calls all failed with this status before."""
    stack = Stack(folder, StackOptions(gateway=False))
    try:
        stack.redis.start()
        await stack.kernel.start()
        async with stack.store() as jobs:
            kernel = PolicyClient(f"127.0.0.1:{stack.kernel_port}")
            await wait_until(kernel.is_serving)
            breaker = CircuitBreaker(jobs.client, keys.BREAKER_SAFETY, monotonic_s)
            watch = KernelWatch(kernel, breaker, "input")
            try:
                await trip(breaker, watch, status)
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(watch.run())
                    yield breaker
                    task.cancel()
            finally:
                await kernel.close()
    finally:
        stack.stop()


async def trip(breaker: CircuitBreaker, watch: KernelWatch, status: grpc.StatusCode) -> None:
    for _ in range(3):
        grant = await breaker.admit()
        assert grant is not None
        watch.note(KernelCallFailed(status))
        await breaker.report(grant, False)
    assert breaker.state is BreakerState.OPEN


async def test_a_kernel_back_before_anybody_looked_ends_the_open_time(tmp_path: Path) -> None:
    async with open_circuit(tmp_path, grpc.StatusCode.UNAVAILABLE) as breaker:
        await wait_until(lambda: breaker.state is BreakerState.HALF_OPEN)
        assert await breaker.admit() is not None


async def test_a_kernel_that_was_there_all_the_time_is_left_alone(tmp_path: Path) -> None:
    async with open_circuit(tmp_path, grpc.StatusCode.DEADLINE_EXCEEDED) as breaker:
        with pytest.raises(AssertionError, match="condition not met"):
            await wait_until(lambda: breaker.state is not BreakerState.OPEN, timeout_s=2)
        assert await breaker.admit() is None
