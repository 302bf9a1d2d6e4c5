"""Readiness probes of the embedded processes, on loopback."""

import asyncio
import secrets
import socket
from typing import Final

from cordum.embedded.servers import LOOPBACK

__all__ = ["free_port", "http_ok", "is_free", "nats_ready", "redis_ready"]

# Below the range outgoing connections get their ports from (Linux: 32768 up, others: 49152 up).
_CHOSEN_PORTS: Final = range(20_000, 32_768)

_LIMIT_S: Final = 2.0


async def _first_line(port: int, request: bytes) -> bytes:
    """Send ``request`` and return the first line of the answer; empty when there is none in time."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(request)
                return await reader.readline()
            finally:
                writer.close()
    except OSError:  # includes TimeoutError: not ready is an answer
        return b""


async def http_ok(port: int, path: str) -> bool:
    """Tell whether `GET path` answers 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n"
    return b" 200 " in await _first_line(port, request.encode("ascii"))


async def nats_ready(port: int) -> bool:
    """Tell whether nats-server greets with JetStream enabled."""
    line = await _first_line(port, b"")
    return line.startswith(b"INFO ") and b'"jetstream":true' in line


async def redis_ready(port: int) -> bool:
    """Tell whether redis-server has loaded its data and answers PING."""
    return (await _first_line(port, b"PING\r\n")).startswith(b"+PONG")


def is_free(port: int) -> bool:
    """Tell whether the loopback port can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """Return a free loopback port that is not in ``taken`` and add it there.

    It is none of those the system gives to outgoing connections: one of them could be gone before its server
    listens.
    """
    while True:
        port = secrets.choice(_CHOSEN_PORTS)
        if port not in taken and is_free(port):
            taken.add(port)
            return port
