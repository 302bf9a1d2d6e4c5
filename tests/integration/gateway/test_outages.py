"""What callers hear while a dependency is away, and that nothing is lost by it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cordum.config.redis import RedisSettings, StoreSettings
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.support.gateway import GatewayProcess, client
from tests.support.kernel import KernelProcess
from tests.support.nats_server import NatsServer
from tests.support.processes import free_port, wait_until
from tests.support.redis_servers import RedisServer


class Parts:
    """A gateway with servers of its own."""

    def __init__(self, folder: Path, kernel: KernelProcess) -> None:
        self.redis = RedisServer(folder / "redis").start()
        self.nats = NatsServer(free_port(), folder / "nats")
        self.nats.start()
        self.gateway = GatewayProcess(
            folder, REDIS_URL=self.redis.url, NATS_URL=self.nats.url, SAFETY_KERNEL_ADDR=kernel.address
        )
        self.gateway.start()


@pytest.fixture
async def parts(tmp_path: Path, policy_kernel: KernelProcess) -> AsyncIterator[Parts]:
    """A gateway whose servers the test may take away."""
    made = Parts(tmp_path, policy_kernel)
    yield made
    made.gateway.stop()
    made.nats.stop()
    made.redis.stop()


async def test_without_nats_a_job_is_still_accepted_and_waits_for_the_replayer(parts: Parts) -> None:
    parts.nats.kill()
    async with client(parts.gateway, "alice") as alice:
        answer = await alice.post("/jobs", json={"prompt": "p"})
        assert answer.status_code == 200, answer.text
        health = await alice.get(f"{parts.gateway.url}/health")
        assert (health.status_code, health.json()["nats"]) == (503, "disconnected")
        assert (await alice.get(f"{parts.gateway.url}/readyz")).status_code == 503
        assert (await alice.get(f"{parts.gateway.url}/livez")).status_code == 200
    store = await RedisClient.open(RedisSettings(url=parts.redis.url))
    record = await (await JobStore.open(store, StoreSettings())).get(answer.json()["job_id"])
    await store.close()
    assert record is not None
    assert record["state"] == "PENDING"


async def test_without_redis_callers_are_told_to_try_again_and_served_when_it_is_back(parts: Parts) -> None:
    parts.redis.kill()
    async with client(parts.gateway, "alice") as alice:
        for call in (alice.post("/jobs", json={"prompt": "p"}), alice.get("/jobs"), alice.get("/dlq")):
            answer = await call
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        parts.redis.start()

        async def is_served() -> bool:
            found: httpx.Response = await alice.post("/jobs", json={"prompt": "p"})
            return found.status_code == 200

        await wait_until(is_served)
