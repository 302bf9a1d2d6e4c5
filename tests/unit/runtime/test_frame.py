"""Small parts of the frame: clock, ids, back-off, settle, supervisor, metrics."""

import asyncio
import uuid

import pytest
from prometheus_client import CollectorRegistry, Counter

from cordum.config.types import Address
from cordum.domain.errors import ConfigError, Unavailable
from cordum.runtime.backoff import Backoff
from cordum.runtime.clock import rfc3339
from cordum.runtime.health import metrics_address
from cordum.runtime.ids import instance_id, new_id
from cordum.runtime.metrics import render_metrics
from cordum.runtime.service import wait_for_dependency
from cordum.runtime.settle import settle
from cordum.runtime.supervisor import Supervisor


def test_times_are_written_as_utc_with_microseconds() -> None:
    assert rfc3339(1_772_358_600_123_456) == "2026-03-01T09:50:00.123456Z"


def test_ids_are_random_uuids_and_instances_name_their_host() -> None:
    assert uuid.UUID(new_id()).version == 4
    host, _, tail = instance_id("cordum-scheduler").rpartition("-")
    assert host
    assert len(tail) == 8
    assert int(tail, 16) >= 0


def test_back_off_doubles_up_to_its_limit() -> None:
    backoff = Backoff(0.5, 10.0)
    delays = [backoff.next_s() for _ in range(8)]
    assert 0.4 <= delays[0] <= 0.5
    assert 8.0 <= delays[-1] <= 10.0
    backoff.reset()
    assert backoff.next_s() <= 0.5


async def test_a_sent_write_is_finished_although_the_caller_is_cancelled() -> None:
    started, release, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def write() -> None:
        started.set()
        await release.wait()
        finished.set()

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(settle(write(), grace_s=5.0))
        await started.wait()
        caller.cancel()
        release.set()
        await asyncio.wait({caller})
    assert caller.cancelled()
    assert finished.is_set()


async def test_a_write_that_outlives_its_grace_is_cancelled() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(settle(write(), grace_s=0.01))
        await started.wait()
        caller.cancel()
        await asyncio.wait({caller})
    assert caller.cancelled()
    assert cancelled.is_set()


async def test_settle_passes_results_and_errors_through() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("no")

    assert await settle(answer(), grace_s=1.0) == 7
    with pytest.raises(ValueError, match="no"):
        await settle(fail(), grace_s=1.0)


async def test_a_task_fails_the_way_it_declared() -> None:
    failures: list[str] = []
    tries: list[int] = []
    again = asyncio.Event()

    async def flaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("first try")
        again.set()

    async def broken() -> None:
        raise ValueError("broken")

    async with Supervisor(lambda name, _error: failures.append(name)) as supervisor:
        supervisor.spawn("flaky", flaky, on_error="restart")
        supervisor.spawn("quiet", broken, on_error="log")
        supervisor.spawn("vital", broken, on_error="stop")
        supervisor.spawn("forever", lambda: asyncio.Event().wait(), on_error="stop")  # type: ignore[arg-type,return-value]
        async with asyncio.timeout(5):
            await again.wait()
    assert failures == ["vital"]


async def test_a_dependency_gets_its_budget_and_then_a_clear_error() -> None:
    tries: list[int] = []

    async def late() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionRefusedError("refused")
        return "ready"

    async def never() -> str:
        raise Unavailable("redis://user:pw@host refused")

    assert await wait_for_dependency("redis", late, budget_s=5.0) == "ready"
    with pytest.raises(Unavailable, match=r"redis is not reachable: redis://\*\*\*@host refused"):
        await wait_for_dependency("redis", never, budget_s=0.2)


def test_every_series_carries_the_pod_label() -> None:
    registry = CollectorRegistry()
    Counter("cordum_sample", "x", ["topic"], registry=registry).labels("job.a").inc()
    assert (
        'cordum_sample_total{pod="host-1",topic="job.a"} 1.0' in render_metrics("host-1", registry).decode()
    )


@pytest.mark.parametrize(
    ("host", "public", "production", "bound"),
    [
        ("", False, False, ""),
        ("", False, True, "127.0.0.1"),
        ("", True, True, ""),
        ("127.0.0.1", False, True, "127.0.0.1"),
    ],
)
def test_production_metrics_bind_to_loopback_unless_public(
    host: str, public: bool, production: bool, bound: str
) -> None:
    address, warning = metrics_address(
        "X_METRICS_ADDR", Address(host, 1), public=public, production=production
    )
    assert address == Address(bound, 1)
    assert (warning is not None) == (host != bound)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "metrics.internal"])
def test_production_refuses_an_explicit_public_metrics_host(host: str) -> None:
    with pytest.raises(ConfigError, match="metrics bind rejected"):
        metrics_address("X_METRICS_ADDR", Address(host, 1), public=False, production=True)
