"""Values that cross the bus: messages out and their outcomes, messages in and verdicts (protocol spec §8)."""

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple, Self

from nats.aio.msg import Msg

from cordum.bus.headers import headers_of
from cordum.domain.errors import TooLarge, Unavailable

__all__ = [
    "ACK",
    "CORRUPT_RETRY",
    "MAX_DELIVERIES",
    "NAK",
    "TERM",
    "Delivered",
    "FailureKind",
    "InMessage",
    "OutMessage",
    "PubOutcome",
    "Verdict",
    "is_poison",
    "poison_entry",
    "trace_context",
    "trace_headers",
    "trace_text",
]

MSG_ID_HEADER: Final = "Nats-Msg-Id"
CORRUPT_DELIVERIES: Final = 3
_RAW_MAX: Final = 64 * 1024
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile(r"[\x20-\x7e]{1,512}")
MAX_DELIVERIES: Final = 100

_UNKNOWN_POSITION: Final = (1, 0, 0)

Delivered = tuple[int, bytes, bytes, bytes, bytes | None, tuple[int, int, int] | None]
"""A message as `_core.delivered_messages` reads it."""

FailureKind = Literal["", "timeout", "no_stream", "too_large", "connection", "refused"]
"""Why a publish failed. `connection` and `no_stream`: nobody received it. `timeout`: it may have been stored.
`refused`: the server answered with an error. `too_large`: it can never fit."""


class OutMessage(NamedTuple):
    """A message to publish; ``msg_id`` becomes `Nats-Msg-Id`."""

    subject: str
    payload: bytes
    msg_id: str | None = None
    headers: Mapping[str, str] | None = None


class PubOutcome(NamedTuple):
    """How one publish went; ``seq`` is the stream sequence, ``duplicate``: the stream already had its id."""

    ok: bool
    duplicate: bool = False
    seq: int = 0
    kind: FailureKind = ""
    permanent: bool = False
    error: str = ""

    def raise_for_failure(self) -> None:
        """Raise TooLarge or Unavailable when the publish failed."""
        if self.ok:
            return
        if self.kind == "too_large":
            raise TooLarge(self.error)
        raise Unavailable(f"publish failed: {self.error}", details={"kind": self.kind})


class Verdict(NamedTuple):
    """What to tell the server about a message; use ``ACK``, ``TERM`` or ``NAK(delay_s)``."""

    action: Literal["ack", "nak", "term"]
    payload: bytes


ACK: Final = Verdict("ack", b"")
TERM: Final = Verdict("term", b"+TERM")


@lru_cache(maxsize=64)
def NAK(delay_s: float = 0.0) -> Verdict:
    """Ask for redelivery after ``delay_s`` seconds, at once by default."""
    if delay_s <= 0:
        return Verdict("nak", b"-NAK")
    return Verdict("nak", b"-NAK " + json.dumps({"delay": int(delay_s * 1_000_000_000)}).encode())


CORRUPT_RETRY: Final = NAK(5.0)
"""The verdict for bytes that do not parse while `is_poison` is False."""


class InMessage:
    """A message of a durable consumer, with what its reply subject says about it."""

    __slots__ = ("_block", "_headers", "data", "delivered", "reply", "stream_seq", "subject", "timestamp_us")

    def __init__(self, delivered: Delivered) -> None:
        _, subject, reply, self.data, self._block, position = delivered
        self._headers: Mapping[str, str] | None = None
        self.subject = subject.decode()
        self.reply = reply.decode()
        self.delivered, self.stream_seq, self.timestamp_us = position or _UNKNOWN_POSITION

    @classmethod
    def of(cls, message: Msg) -> Self:
        """Return what core NATS delivered."""
        made = cls((0, message.subject.encode(), message.reply.encode(), message.data, None, None))
        made._headers = message.headers or {}
        return made

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by name; read when asked for, most messages are never asked."""
        if self._headers is None:
            self._headers = headers_of(self._block)
        return self._headers

    @property
    def has_trace(self) -> bool:
        """Whether it may carry W3C trace headers."""
        return b"traceparent" in self._block if self._block else bool(self._headers)


def is_poison(message: InMessage, *, corrupt: bool) -> bool:
    """Tell whether to dead-letter and terminate a message instead of trying again (protocol spec §8.4, §8.5).

    ``corrupt`` says that its bytes do not parse: then after 3 deliveries, otherwise at the 100th.
    """
    return message.delivered >= MAX_DELIVERIES or (corrupt and message.delivered > CORRUPT_DELIVERIES)


def poison_entry(stream: str, message: InMessage, created_at: str) -> dict[str, object]:
    """Return the dead letter of a message nobody could process; ``created_at`` is RFC 3339 (protocol spec §8.5).

    What names no tenant is a matter of the tenant `default`.
    """
    return {
        "job_id": f"poison:{stream}:{message.stream_seq}",
        "tenant": "default",
        "status": "JOB_STATUS_FAILED",
        "reason": "message could not be processed",
        "reason_code": "poison_message",
        "subject": message.subject,
        "attempts": message.delivered,
        "raw": base64.b64encode(message.data[:_RAW_MAX]).decode(),
        "truncated": len(message.data) > _RAW_MAX,
        "created_at": created_at,
    }


def trace_context(traceparent: str, tracestate: str) -> dict[str, str] | None:
    """Return the W3C trace headers to pass on; None without a valid `traceparent` (protocol spec §6)."""
    if not _TRACEPARENT.fullmatch(traceparent):
        return None
    if not _TRACESTATE.fullmatch(tracestate):
        return {"traceparent": traceparent}
    return {"traceparent": traceparent, "tracestate": tracestate}


def trace_text(context: Mapping[str, str]) -> str:
    """Return trace headers as a record keeps them: a line each, the parent first."""
    return "\n".join(context.values())


def trace_headers(text: str) -> dict[str, str]:
    """Return the trace headers of a record's text."""
    return dict(zip(("traceparent", "tracestate"), text.split("\n"), strict=False))
