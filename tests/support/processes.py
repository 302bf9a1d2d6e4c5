"""Helpers for tests that run real processes: free ports, waiting for a condition, ending a child."""

import asyncio
import contextlib
import inspect
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from cordum.domain.errors import Unavailable

# Below the range outgoing connections take their ports from (32768 up): a port of that range may be gone
# between the probe and the server's bind. Test workers that run side by side have a block each.
_BLOCKS = 8
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BLOCKS


def ports_of_this_worker(first: int, last: int) -> Iterator[int]:
    """Go round and round the part of ``first..last`` that is this test worker's."""
    size = (last - first + 1) // _BLOCKS
    start = os.getpid() % size
    return (first + _WORKER * size + (start + step) % size for step in itertools.count())


_ports = ports_of_this_worker(10_000, 19_999)


def free_port() -> int:
    """Return a loopback TCP port nobody listens on, another one with every call."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports go round")


def is_listening(port: int) -> bool:
    """Tell whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def wait_until(
    predicate: Callable[[], Any | Awaitable[Any]], timeout_s: float = 40.0, interval_s: float = 0.02
) -> Any:
    """Poll ``predicate`` (plain or async) until it is truthy, return its value; fail after ``timeout_s``.

    A server that does not answer, as one that was just killed, is a reason to ask again.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        unavailable: Unavailable | None = None
        try:
            value = predicate()
            if inspect.isawaitable(value):
                value = await value
        except Unavailable as error:
            value, unavailable = None, error
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"condition not met within {timeout_s} s: {inspect.getsource(predicate).strip()}"
            ) from unavailable
        await asyncio.sleep(interval_s)


def wait_listening(port: int, process: "subprocess.Popen[bytes]", timeout_s: float = 40.0) -> None:
    """Block until ``process`` listens on ``port``; fail when it ends first."""
    deadline = time.monotonic() + timeout_s
    while not is_listening(port):
        if process.poll() is not None:
            raise AssertionError(f"{process.args!r} ended with {process.returncode} before listening")
        if time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} did not listen on {port} within {timeout_s} s")
        time.sleep(0.02)


def end_process(process: "subprocess.Popen[bytes]", grace_s: float = 5.0) -> None:
    """Terminate ``process`` and wait for it; kill it after ``grace_s``."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
