"""One gateway with its own Redis, NATS and kernel for the whole folder; each test starts with an empty store."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
import redis as redis_sync
from nats.aio.client import Client

from cordum.config.redis import RedisSettings, StoreSettings
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.support.gateway import POLICY, GatewayProcess, client
from tests.support.kernel import KernelProcess
from tests.support.nats_server import NatsServer
from tests.support.processes import free_port
from tests.support.redis_servers import RedisServer

_LIVING = (b"cordum:instance:", b"cordum:instances:")
_BACKGROUND = {keys.LOCK_POOL_DRAIN, keys.LOCK_DLQ_CLEANUP, keys.SAFETY_SNAPSHOTS}


@pytest.fixture(scope="package")
def gateway_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes keep their files."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="package")
def policy_kernel(gateway_folder: Path) -> Iterator[KernelProcess]:
    """A kernel with the policy of these tests."""
    kernel = KernelProcess(gateway_folder, POLICY)
    kernel.start()
    yield kernel
    kernel.stop()


@pytest.fixture(scope="package")
def gateway_redis(gateway_folder: Path) -> Iterator[str]:
    """URL of the folder's own Redis."""
    server = RedisServer(gateway_folder / "redis").start()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def emptied_redis(gateway_redis: str) -> str:
    """The same without what the module before left: a kernel does not start with a broken bundle."""
    with redis_sync.Redis.from_url(gateway_redis) as connection:
        connection.flushall()
    return gateway_redis


@pytest.fixture(scope="package")
def gateway_nats(gateway_folder: Path) -> Iterator[str]:
    """URL of the folder's own NATS."""
    server = NatsServer(free_port(), gateway_folder / "nats")
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="package")
def gateway(
    gateway_folder: Path, policy_kernel: KernelProcess, gateway_redis: str, gateway_nats: str
) -> Iterator[GatewayProcess]:
    """The gateway under test."""
    process = GatewayProcess(
        gateway_folder,
        REDIS_URL=gateway_redis,
        NATS_URL=gateway_nats,
        SAFETY_KERNEL_ADDR=policy_kernel.address,
    )
    process.start()
    yield process
    assert process.stop() == 0, process.log_path.read_text()[-2_000:]


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    emptied_redis: str,
    gateway_nats: str,
) -> Iterator[GatewayProcess]:
    """A gateway and a kernel of a module's own that read the same bundles.

    Its `STACK_POLICY` takes the place of the policy, its `STACK_KERNEL` adds to the kernel's environment.
    """
    module = request.module
    folder = tmp_path_factory.mktemp(module.__name__.rpartition(".")[2])
    servers = {"REDIS_URL": emptied_redis, "NATS_URL": gateway_nats}
    environment = {"SAFETY_POLICY_CONFIG_DISABLE": "", **servers, **getattr(module, "STACK_KERNEL", {})}
    kernel = KernelProcess(folder, getattr(module, "STACK_POLICY", POLICY), **environment)
    kernel.start()
    process = GatewayProcess(folder, SAFETY_KERNEL_ADDR=kernel.address, **servers).start()
    yield process
    process.stop()
    kernel.stop()


@pytest.fixture
async def alice(stack: GatewayProcess, redis: RedisClient) -> AsyncIterator[httpx.AsyncClient]:
    """A person at the module's own gateway; the store is empty when the test begins."""
    async with client(stack, "alice") as opened:
        yield opened


@pytest.fixture(scope="package")
def orphan_gateway(
    tmp_path_factory: pytest.TempPathFactory, gateway_redis: str, gateway_nats: str
) -> Iterator[GatewayProcess]:
    """A gateway on the same store whose kernel does not exist."""
    process = GatewayProcess(
        tmp_path_factory.mktemp("orphan"),
        REDIS_URL=gateway_redis,
        NATS_URL=gateway_nats,
        SAFETY_KERNEL_ADDR=f"127.0.0.1:{free_port()}",
        GATEWAY_POLICY_TIMEOUT="300ms",
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def redis(gateway_redis: str) -> AsyncIterator[RedisClient]:
    """The gateway's store, empty at the start of a test."""
    opened = await RedisClient.open(RedisSettings(url=gateway_redis))
    await opened.execute("FLUSHALL")
    yield opened
    await opened.close()


@pytest.fixture
async def jobs(redis: RedisClient) -> JobStore:
    """The job repository of the gateway's store."""
    return await JobStore.open(redis, StoreSettings())


@pytest.fixture
async def bus(gateway_nats: str) -> AsyncIterator[Client]:
    """A plain NATS connection."""
    connection = await nats.connect(gateway_nats)
    yield connection
    await connection.close()


@pytest.fixture
async def as_person(
    gateway: GatewayProcess, redis: RedisClient
) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Return clients by person; the store is empty when the test begins."""
    clients: list[httpx.AsyncClient] = []

    def make(who: str, **headers: str) -> httpx.AsyncClient:
        clients.append(client(gateway, who, **headers))
        return clients[-1]

    yield make
    for opened in clients:
        await opened.aclose()


@pytest.fixture
def snapshot(redis: RedisClient) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return a function that reads the whole store, to show that a call changed nothing."""

    async def read() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in await redis.execute("KEYS", "*"):
            # What background tasks show and lock, and what the kernel notes as it follows, comes and goes by itself.
            if key.decode() in _BACKGROUND or key.startswith(_LIVING):
                continue
            found[key.decode()] = await redis.execute("DUMP", key)
        return found

    return read
