"""One keep-alive HTTP/1.1 connection of a load generator: a request, its answer, the next request."""

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["HttpWire", "post"]

OnAnswer = Callable[["HttpWire", int], None]
"""Takes the connection, ready for its next request, and the status of the answer."""


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return the bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class HttpWire(asyncio.Protocol):
    """Sends one request at a time; answers must carry `Content-Length`."""

    def __init__(self, on_answer: OnAnswer) -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self.is_open = False

    @classmethod
    async def open(cls, port: int, on_answer: OnAnswer) -> "HttpWire":
        """Connect on loopback."""
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: cls(on_answer), "127.0.0.1", port)
        return wire

    def send(self, request: bytes) -> None:
        """Write one whole request."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one in all but name
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        """Report status 0 when the server went away before it answered."""
        was_open, self.is_open = self.is_open, False
        if was_open and error is not None:
            self._on_answer(self, 0)

    def eof_received(self) -> None:
        """Report status 0: the server closed a connection that should stay open."""
        self.is_open = False
        self._on_answer(self, 0)

    def data_received(self, data: bytes) -> None:
        """Hand over the status once the whole answer is there."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[start : (head + b"\r\n").index(b"\r\n", start)])
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer = b""
        self._on_answer(self, int(head[9:12]))
