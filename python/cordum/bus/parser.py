"""Reading the client's socket, many messages per call (architecture §4).

The client's own parser tries each pattern of the protocol in turn and copies the buffer per message. This one has
whole messages read in Rust and leaves everything else (PING, INFO, errors, what is malformed) to it, line by line.
"""

from nats.aio.client import Client
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser, ProtocolError

from cordum import _core

__all__ = ["BatchParser"]

_BREAK = b"\r\n"


class BatchParser(Parser):
    """Takes the place of a client's parser before it connects."""

    nc: Client

    def reset(self) -> None:
        """Forget what was read of the last connection."""
        super().reset()
        self._wanted = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read from the socket. Raises ProtocolError for what no server says."""
        while data or self.buf:
            if self.buf:
                self.buf += data
                if len(self.buf) < self._wanted:
                    return
                data = bytes(self.buf)
                self.buf.clear()
            messages, used, self._wanted = _core.delivered_messages(data)
            self.buf += memoryview(data)[used:]
            data = b""
            for subscription, subject, reply, payload, headers in messages:
                await self.nc._process_msg(subscription, subject, reply, payload, headers)
            if self._wanted or (self.buf and not await self._parse_line()):
                return

    async def _parse_line(self) -> bool:
        """Let the client have the first line; False when it is not whole."""
        buffer = self.buf
        end = buffer.find(_BREAK)
        if end < 0:
            await super().parse()
            return False
        rest = bytes(memoryview(buffer)[end + len(_BREAK) :])
        del buffer[end + len(_BREAK) :]
        await super().parse()
        if self.state != AWAITING_CONTROL_LINE:
            raise ProtocolError("nats: malformed MSG")
        if self.buf is buffer:  # else the line ended the connection
            buffer += rest
        return True
