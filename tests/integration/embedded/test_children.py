"""Supervised children: real servers and small stand-in processes."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from cordum.domain.errors import Unavailable
from cordum.embedded.layout import DataDir
from cordum.embedded.probes import http_ok
from cordum.embedded.stack import Options, choose_ports, server_specs
from cordum.embedded.supervisor import Child, ChildSpec, stop_children
from tests.support.processes import free_port, wait_until

ANY_PORTS = Options(port=0, nats_port=0, redis_port=0, kernel_port=0)


def stand_in(
    tmp_path: Path, program: str, probe: Callable[[], Awaitable[bool]], grace_s: float = 5.0
) -> ChildSpec:
    """Return a child that runs ``program`` in Python."""
    return ChildSpec(
        name="stand-in",
        argv=(sys.executable, "-c", textwrap.dedent(program)),
        env=dict(os.environ),
        log_path=tmp_path / "stand-in.log",
        probe=probe,
        stop_grace_s=grace_s,
    )


async def always() -> bool:
    return True


@asynccontextmanager
async def running(*children: Child) -> AsyncIterator[None]:
    """Run the children and stop them at the end."""
    async with asyncio.TaskGroup() as lives:
        try:
            for child in children:
                lives.create_task(child.run())
            yield
        finally:
            await stop_children([children])


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    directory = DataDir(tmp_path / "a directory")
    (directory.root / "logs").mkdir(parents=True)
    return directory


async def test_a_killed_server_is_started_again(data: DataDir) -> None:
    changes: list[str] = []
    children = [
        Child(spec, lambda child, what: changes.append(f"{child.spec.name} {what}"))
        for spec in server_specs(data, choose_ports(ANY_PORTS))
    ]
    async with running(*children):
        for child in children:
            await child.wait_ready(10)
        for child in children:
            first = child.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await wait_until(lambda c=child, p=first: c.pid not in (None, p))
            await child.wait_ready(10)
            assert child.restarts == 1
    assert all(child.pid is None for child in children)
    assert next(line for line in changes if "SIGKILL" in line).startswith("redis ended with SIGKILL")


async def test_the_servers_find_their_data_again(data: DataDir) -> None:
    import redis

    ports = choose_ports(ANY_PORTS)
    for expected in (None, b"kept"):
        children = [Child(spec, lambda _child, _what: None) for spec in server_specs(data, ports)]
        async with running(*children):
            for child in children:
                await child.wait_ready(10)
            client = redis.Redis(port=ports.redis)
            assert client.get("key") == expected
            client.set("key", "kept")
            client.close()


async def test_a_first_start_that_fails_is_reported_with_its_last_words(tmp_path: Path) -> None:
    program = "import sys; print('{\"msg\":\"x\"}'); sys.exit('cannot read the pools')"
    child = Child(stand_in(tmp_path, program, lambda: http_ok(free_port(), "/")), lambda _child, _what: None)
    async with running(child):
        with pytest.raises(Unavailable, match="stand-in did not start: cannot read the pools"):
            await child.wait_ready(10)


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    port = free_port()
    child = Child(
        stand_in(tmp_path, "import time; time.sleep(60)", lambda: http_ok(port, "/")), lambda _c, _w: None
    )
    async with running(child):
        with pytest.raises(Unavailable, match=r"stand-in was not ready within 0.3 s"):
            await child.wait_ready(0.3)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(60)
    """
    changes: list[str] = []
    child = Child(stand_in(tmp_path, program, always, grace_s=0.3), lambda _child, what: changes.append(what))
    async with running(child):
        await wait_until(lambda: "deaf" in (tmp_path / "stand-in.log").read_text() if child.pid else False)
    assert child.pid is None
    assert "did not stop within 0.3 s, killed" in changes


async def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = """
        import asyncio, sys
        from pathlib import Path
        from cordum.embedded.supervisor import Child
        from tests.integration.embedded.test_children import always, stand_in

        async def main():
            spec = stand_in(Path(sys.argv[1]), "import time; time.sleep(60)", always)
            child = Child(spec, lambda _child, _what: None)
            async with asyncio.TaskGroup() as lives:
                lives.create_task(child.run())
                await child.wait_ready(10)
                print(child.pid, flush=True)
                await asyncio.Event().wait()

        asyncio.run(main())
    """
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(program), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert supervisor.stdout is not None
        child_pid = int(await supervisor.stdout.readline())
        assert is_running(child_pid)
    finally:
        supervisor.kill()
        await supervisor.wait()
    await wait_until(lambda: not is_running(child_pid))


def is_running(pid: int) -> bool:
    """Tell whether the process exists and is more than a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
