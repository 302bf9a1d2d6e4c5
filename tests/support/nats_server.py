"""Real nats-server processes: one for the session, and restartable ones for fault tests."""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import pytest
import pytest_asyncio

from cordum.bus import Bus, ensure_streams
from cordum.config.nats import NatsSettings
from tests.support.processes import end_process, free_port, is_listening, wait_listening, wait_until


def nats_binary() -> str | None:
    """Return the nats-server to use: from PATH, else the one installed beside this Python."""
    beside = Path(sys.executable).parent / "nats-server"
    return shutil.which("nats-server") or (str(beside) if beside.exists() else None)


class NatsServer:
    """A nats-server with JetStream on a loopback port. Started again after ``kill`` it has its data."""

    def __init__(
        self, port: int, store_dir: Path, *, sync_always: bool = False, extra: str = "", name: str = "test"
    ) -> None:
        self.port = port
        self.name = name
        self.store_dir = store_dir
        self._config = store_dir / "nats.conf"
        self._options = f"sync_interval: {'always' if sync_always else '2m'}"
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL clients use."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of every server there is."""
        return (self.url,)

    async def wait_formed(self) -> None:
        """Return at once: a single server needs no agreement."""

    def start(self) -> None:
        """Start the server and wait until it listens."""
        binary = nats_binary()
        if binary is None:
            pytest.skip("nats-server is missing: install the extra `embedded` or put it on PATH")
        self.store_dir.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: {self.name}\n'
            f'jetstream {{ store_dir: "{self.store_dir / "js"}", {self._options} }}\n{self._extra}\n'
        )
        with (self.store_dir / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([binary, "-c", str(self._config)], stdout=log, stderr=log)
        wait_listening(self.port, self._process)

    def stop(self) -> None:
        """End the server in order."""
        if self._process is not None:
            end_process(self._process)
            self._process = None

    def kill(self) -> None:
        """Kill the server at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class NatsCluster:
    """Three nats-servers that keep streams together."""

    def __init__(self, folder: Path) -> None:
        routes = [free_port() for _ in range(3)]
        listed = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.nodes = [
            NatsServer(
                free_port(),
                folder / f"n{number}",
                extra=f'cluster {{ name: test, listen: "127.0.0.1:{route}", routes: [{listed}] }}',
                name=f"n{number}",
            )
            for number, route in enumerate(routes)
        ]

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of all nodes."""
        return tuple(node.url for node in self.nodes)

    @property
    def url(self) -> str:
        """The URLs of all nodes as services take them."""
        return ",".join(self.urls)

    def start(self) -> None:
        """Start the nodes; they have to find each other yet."""
        for node in self.nodes:
            node.start()

    async def wait_formed(self, timeout_s: float = 60.0) -> None:
        """Wait until the nodes have elected who looks after the streams."""
        client = await nats.connect(list(self.urls), max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        try:

            async def elected() -> bool:
                try:
                    await client.jetstream().account_info()
                    return True
                except (nats.errors.Error, nats.js.errors.Error):
                    return False

            await wait_until(elected, timeout_s=timeout_s, interval_s=0.2)
        finally:
            await client.close()

    async def leader_of(self, stream: str) -> NatsServer:
        """Return the node that leads a stream."""
        alive = [node.url for node in self.nodes if is_listening(node.port)]
        client = await nats.connect(alive)
        try:
            info = await client.jetstream().stream_info(stream)
            assert info.cluster is not None
            return next(node for node in self.nodes if node.name == info.cluster.leader)
        finally:
            await client.close()

    def kill(self) -> None:
        """Kill all nodes at once."""
        for node in self.nodes:
            node.kill()

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server with JetStream, shared by the session; a test owns its subjects, not the server."""
    server = NatsServer(free_port(), tmp_path_factory.mktemp("nats"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of the test's own, which it may stop, kill and start again."""
    server = NatsServer(free_port(), tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def clean_nats(nats_url: str) -> str:
    """The session server with no stream left on it."""
    connection = await nats.connect(nats_url)
    jetstream = connection.jetstream()
    for stream in await jetstream.streams_info():
        # A stream made again at once under its old name may find the files of the deleted one: empty them first.
        await jetstream.purge_stream(stream.config.name or "")
        await jetstream.delete_stream(stream.config.name or "")
    await connection.close()
    return nats_url


@pytest_asyncio.fixture
async def bus(clean_nats: str) -> AsyncIterator[Bus]:
    """A connected bus on the session server, with both streams present and empty."""
    settings = NatsSettings(urls=(clean_nats,))
    opened = await Bus.open(settings, "test")
    await ensure_streams(opened, settings)
    yield opened
    await opened.close()
