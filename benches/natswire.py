"""The little of the NATS protocol that simulated workers need, so that they cost next to nothing."""

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["NatsWire"]

_CONNECT = (
    b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":false,"name":"bench",'
    b'"lang":"python","version":"0","protocol":1,"echo":true}\r\n'
)

OnMessage = Callable[[str, bytes], bytes]
"""Takes subject and payload, returns frames to send (made by `NatsWire.frame`), or nothing."""


class NatsWire(asyncio.Protocol):
    """One connection. ``on_message`` runs for every message; what it returns is sent once per read."""

    def __init__(self, on_message: OnMessage) -> None:
        self._on_message = on_message
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self._pongs: list[asyncio.Future[None]] = []
        self.failure = ""

    @classmethod
    async def open(cls, port: int, subjects: tuple[str, ...], on_message: OnMessage) -> "NatsWire":
        """Connect on loopback and subscribe; the subscriptions are active when this returns."""
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: cls(on_message), "127.0.0.1", port)
        frames = b"".join(f"SUB {subject} {sid}\r\n".encode() for sid, subject in enumerate(subjects, 1))
        wire.send(_CONNECT + frames)
        await wire.flush()
        return wire

    @staticmethod
    def frame(subject: str, payload: bytes) -> bytes:
        """Return the bytes that publish ``payload``."""
        return b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)

    def send(self, frames: bytes) -> None:
        """Write frames."""
        if self._transport is not None:
            self._transport.write(frames)

    async def flush(self) -> None:
        """Wait until the server has handled everything sent so far."""
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self.send(b"PING\r\n")
        async with asyncio.timeout(10):
            await pong

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one in all but name

    def connection_lost(self, error: Exception | None) -> None:
        """Let nobody wait for a server that is gone."""
        self.failure = self.failure or str(error or "connection closed")
        for pong in self._pongs:
            pong.cancel()

    def data_received(self, data: bytes) -> None:
        """Handle all complete frames and answer them with one write."""
        buffer = self._buffer + data if self._buffer else data
        position, out = 0, []
        while True:
            end = buffer.find(b"\r\n", position)
            if end < 0:
                break
            if not buffer.startswith((b"MSG", b"HMSG"), position):
                self._control(buffer[position:end])
                position = end + 2
                continue
            words = buffer[position:end].split()
            start, total = end + 2, int(words[-1])
            if len(buffer) < start + total + 2:
                break
            header = int(words[-2]) if words[0] == b"HMSG" else 0
            out.append(self._on_message(words[1].decode(), buffer[start + header : start + total]))
            position = start + total + 2
        self._buffer = buffer[position:]
        answer = b"".join(out)
        if answer:
            self.send(answer)

    def _control(self, line: bytes) -> None:
        if line == b"PING":
            self.send(b"PONG\r\n")
        elif line == b"PONG" and self._pongs:
            pong = self._pongs.pop(0)
            if not pong.done():
                pong.set_result(None)
        elif line.startswith(b"-ERR"):
            self.failure = line.decode()
