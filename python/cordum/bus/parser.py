"""Reading the client's socket, many messages per call (architecture §4).

The client's own parser tries each pattern of the protocol in turn and copies the buffer per message. This one has
whole messages read in Rust and leaves everything else (PING, INFO, errors, what is malformed) to it, line by line.
"""

from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser, ProtocolError

from cordum import _core
from cordum.bus.messages import Delivered

__all__ = ["BatchParser", "Take"]

Take = Callable[[Delivered], None]
"""Hears of one message, at once: it must not wait."""

_BREAK = b"\r\n"
_log = structlog.get_logger("cordum.bus")


class BatchParser(Parser):
    """Takes the place of a client's parser before it connects."""

    nc: Client

    def __init__(self, client: Client) -> None:
        self.direct: dict[int, Take] = {}
        """Who hears the messages of a subscription without the client's queue and task, by its id."""
        super().__init__(client)

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
            for message in messages:
                take = self.direct.get(message[0])
                if take is None:
                    subscription, subject, reply, payload, headers, _ = message
                    await self.nc._process_msg(subscription, subject, reply, payload, headers)
                else:
                    self._hand_over(message, take)
            if self._wanted or (self.buf and not await self._parse_line()):
                return

    def _hand_over(self, message: Delivered, take: Take) -> None:
        statistics = self.nc.stats
        statistics["in_msgs"] += 1
        statistics["in_bytes"] += len(message[3])
        try:
            take(message)
        except Exception:  # one message must not end the connection
            _log.exception("a message was not taken", subject=message[1].decode("utf-8", "replace"))

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
