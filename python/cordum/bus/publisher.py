"""Publishing with confirmation, many messages at once (protocol spec §8.3, README decision 40).

A burst sends all messages and then awaits all PubAcks together. On ``CORDUM_SYS`` a burst may instead be one
atomic batch: one fsync and one PubAck. A refused atomic batch (for example because one of its ids is already
stored) is sent again as a burst, where each message gets its own answer. Dispatches never go atomically: core
subscribers receive every message even when the batch is refused.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any, Final

import nats.errors
import orjson
import structlog
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from cordum.bus.connection import Bus, Seal
from cordum.bus.frames import send_frames
from cordum.bus.headers import status_of
from cordum.bus.messages import MSG_ID_HEADER, Delivered, FailureKind, OutMessage, PubOutcome
from cordum.bus.metrics import PUBLISHES
from cordum.bus.streams import ATOMIC_BATCH_LIMIT, stream_of
from cordum.domain.errors import Unavailable
from cordum.protocol import subjects

__all__ = ["Publisher"]

PUBACK_TIMEOUT_S: Final = 5.0
BURST_LIMIT: Final = 1_000
BURSTS_IN_FLIGHT: Final = 4
RETRY_NO_STREAM_S: Final = 0.25
RETRY_NO_STREAM: Final = 2
_TOO_LARGE_ERR_CODE: Final = 10054
_SEALED_INLINE: Final = 16  # a signature takes some 20 µs: more of them go to a thread
_ENVELOPE_BYTES: Final = 256  # room for the headers a batch adds

_log = structlog.get_logger("cordum.bus")


class _Burst:
    """PubAcks of one burst, collected by index."""

    __slots__ = ("done", "missing", "outcomes")

    def __init__(self, size: int) -> None:
        self.outcomes: list[PubOutcome | None] = [None] * size
        self.missing = size
        self.done = asyncio.Event()

    def settle(self, index: int, outcome: PubOutcome) -> None:
        if self.outcomes[index] is None:
            self.outcomes[index] = outcome
            self.missing -= 1
            if self.missing == 0:
                self.done.set()


class Publisher:
    """Publishes through one bus; create one per process."""

    def __init__(self, bus: Bus, *, timeout_s: float = PUBACK_TIMEOUT_S) -> None:
        self._bus = bus
        self._timeout_s = timeout_s
        self._inbox = ""
        self._bursts: dict[str, _Burst] = {}
        self._next_id = 0
        self._slots = asyncio.Semaphore(BURSTS_IN_FLIGHT)

    async def publish(self, message: OutMessage) -> PubOutcome:
        """Publish one message and await its PubAck; raise Unavailable or TooLarge when it failed."""
        outcome = (await self.publish_burst((message,)))[0]
        outcome.raise_for_failure()
        return outcome

    async def publish_burst(
        self, messages: Sequence[OutMessage], *, atomic: bool = False
    ) -> list[PubOutcome]:
        """Publish all messages and return their outcomes in order; never raises for a failed publish.

        ``atomic`` asks for atomic batches of at most 1 000; it is honoured when every subject belongs to a
        stream that allows them. All is decided within the PubAck deadline (5 s), waiting for a lost
        connection included.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        if self._bus.seal is not None and messages:
            messages = await _sealed(messages, self._bus.seal)
        outcomes: list[PubOutcome] = []
        for start in range(0, len(messages), BURST_LIMIT):
            outcomes += await self._publish_part(messages[start : start + BURST_LIMIT], atomic, deadline)
        _count(messages, outcomes)
        return outcomes

    async def _publish_part(
        self, messages: Sequence[OutMessage], atomic: bool, deadline: float
    ) -> list[PubOutcome]:
        if self._all_fit(messages):
            return await self._publish_fitting(messages, atomic, deadline)
        sized = [self._too_large(message) for message in messages]
        fitting = [m for m, refused in zip(messages, sized, strict=True) if refused is None]
        answers = iter(await self._publish_fitting(fitting, atomic, deadline) if fitting else ())
        return [next(answers) if refused is None else refused for refused in sized]

    async def _publish_fitting(
        self, messages: Sequence[OutMessage], atomic: bool, deadline: float
    ) -> list[PubOutcome]:
        try:
            async with asyncio.timeout_at(deadline):
                await self._bus.wait_connected(self._timeout_s)
                await self._slots.acquire()
        except (TimeoutError, Unavailable) as error:
            return [_failure("connection", str(error) or "too many publishes in flight")] * len(messages)
        try:
            if not self._bus.jetstream:
                return await self._publish_unconfirmed(messages)
            if atomic and self._can_be_atomic(messages):
                batch = await self._publish_atomic(messages, deadline)
                if batch is not None:
                    return batch
            return await self._publish_confirmed(messages, deadline)
        finally:
            self._slots.release()

    def _all_fit(self, messages: Sequence[OutMessage]) -> bool:
        """Tell whether the messages fit even into one, which spares most batches the look at each."""
        if any(message.headers for message in messages):
            return False
        size = sum(len(message.payload) + len(message.msg_id or "") for message in messages)
        return size + _ENVELOPE_BYTES * len(messages) <= self._bus.max_payload

    def _too_large(self, message: OutMessage) -> PubOutcome | None:
        size = len(message.payload) + _ENVELOPE_BYTES + len(message.msg_id or "")
        if message.headers:
            size += sum(len(key) + len(value) + 4 for key, value in message.headers.items())
        limit = self._bus.max_payload
        if size <= limit:
            return None
        return PubOutcome(
            False,
            kind="too_large",
            permanent=True,
            error=f"message too large: expected at most {limit} bytes, got {size}",
        )

    def _can_be_atomic(self, messages: Sequence[OutMessage]) -> bool:
        return (
            2 <= len(messages) <= ATOMIC_BATCH_LIMIT
            and subjects.STREAM_SYS in self._bus.atomic_streams
            and all(stream_of(message.subject) == subjects.STREAM_SYS for message in messages)
        )

    async def _publish_unconfirmed(self, messages: Sequence[OutMessage]) -> list[PubOutcome]:
        """Publish at most once, for a bus without JetStream; the flush proves that the server took it."""
        try:
            for message in messages:
                await self._bus.client.publish(message.subject, message.payload, headers=_headers(message))
            await self._bus.ping(self._timeout_s)
        except (OSError, nats.errors.Error, Unavailable) as error:
            return [_failure("timeout", str(error))] * len(messages)
        return [PubOutcome(True)] * len(messages)

    async def _publish_atomic(
        self, messages: Sequence[OutMessage], deadline: float
    ) -> list[PubOutcome] | None:
        """Publish one atomic batch; None when the server refused it, so that nothing of it was stored."""
        client = self._bus.client
        batch_id = self._take_id() + client.new_inbox().rpartition(".")[2]
        count = len(messages)
        loop = asyncio.get_running_loop()
        reply: Msg | None = None
        try:
            *first, last = messages
            if await send_frames(client, first, batch_id=batch_id):
                return None  # a batch with a gap is never committed
            left_s = max(0.01, deadline - loop.time())
            commit = {
                "Nats-Batch-Id": batch_id,
                "Nats-Batch-Sequence": str(count),
                "Nats-Batch-Commit": "1",
                **(_headers(last) or {}),
            }
            reply = await client.request(last.subject, last.payload, timeout=left_s, headers=commit)
        except (nats.errors.NoRespondersError, nats.errors.BadSubjectError):
            return None
        except (TimeoutError, OSError, nats.errors.Error) as error:
            # Sent or not, the answer is unknown: the batch may have been committed.
            return [_failure("timeout", f"no answer to the batch: {error}")] * count
        answer: dict[str, Any] = orjson.loads(reply.data) if reply is not None else {}
        if "error" in answer or int(answer.get("count", 0)) != count:
            _log.info("atomic batch refused, sending it message by message", count=count, answer=answer)
            return None
        start = int(answer["seq"]) - count + 1
        return [PubOutcome(True, seq=start + index) for index in range(count)]

    async def _publish_confirmed(self, messages: Sequence[OutMessage], deadline: float) -> list[PubOutcome]:
        outcomes = await self._send_burst(messages, deadline)
        for _ in range(RETRY_NO_STREAM):
            # Nobody received these, so sending them again is safe: the stream may just have no leader.
            absent = [index for index, outcome in enumerate(outcomes) if outcome.kind == "no_stream"]
            if not absent or asyncio.get_running_loop().time() + RETRY_NO_STREAM_S > deadline:
                break
            await asyncio.sleep(RETRY_NO_STREAM_S)
            again = await self._send_burst([messages[index] for index in absent], deadline)
            for index, outcome in zip(absent, again, strict=True):
                outcomes[index] = outcome
        if any(outcome.kind == "no_stream" for outcome in outcomes):
            await self._mark_permanent(messages, outcomes)
        return outcomes

    async def _mark_permanent(self, messages: Sequence[OutMessage], outcomes: list[PubOutcome]) -> None:
        """Call a missing stream permanent only when the server says that it does not exist."""
        missing: dict[str | None, bool] = {None: True}
        for index, outcome in enumerate(outcomes):
            if outcome.kind != "no_stream":
                continue
            stream = stream_of(messages[index].subject)
            if stream not in missing:
                missing[stream] = await self._is_absent(stream or "")
            outcomes[index] = outcome._replace(permanent=missing[stream])

    async def _is_absent(self, stream: str) -> bool:
        try:
            await self._bus.js.stream_info(stream)
        except NotFoundError:
            return True
        except (TimeoutError, OSError, nats.errors.Error):
            return False
        return False

    async def _send_burst(self, messages: Sequence[OutMessage], deadline: float) -> list[PubOutcome]:
        if not self._inbox:
            inbox = self._bus.client.new_inbox()
            self._inbox = inbox
            await self._bus.subscribe_inbox(f"{inbox}.*.*", self._on_puback)
        burst_id = self._take_id()
        burst = self._bursts[burst_id] = _Burst(len(messages))
        try:
            await self._send(messages, burst, f"{self._inbox}.{burst_id}.")
            if burst.missing:
                async with asyncio.timeout_at(deadline):
                    await burst.done.wait()
        except TimeoutError:
            _log.warning("publish not confirmed in time", missing=burst.missing, burst=len(messages))
        finally:
            del self._bursts[burst_id]
        unanswered = _failure("timeout", "no publish acknowledgement in time")
        return [outcome or unanswered for outcome in burst.outcomes]

    async def _send(self, messages: Sequence[OutMessage], burst: _Burst, reply_prefix: str) -> None:
        client = self._bus.client
        kind: FailureKind = "timeout"
        try:
            if not client.is_connected:
                kind = "connection"  # nothing was handed over: nobody has it
                raise nats.errors.ConnectionReconnectingError
            for index in await send_frames(client, messages, reply_prefix=reply_prefix):
                error = f"not a subject: {messages[index].subject!r}"
                burst.settle(index, PubOutcome(False, kind="refused", permanent=True, error=error))
        except (OSError, nats.errors.Error) as error:
            failure = _failure(kind, str(error) or type(error).__name__)
            for index in range(len(messages)):
                burst.settle(index, failure)

    def _on_puback(self, delivered: Delivered) -> None:
        _, subject, _, data, block, _ = delivered
        burst_id, _, index = subject[len(self._inbox) + 1 :].decode().partition(".")
        burst = self._bursts.get(burst_id)
        if burst is not None:
            burst.settle(int(index), _read_puback(data, block))

    def _take_id(self) -> str:
        self._next_id += 1
        return str(self._next_id)


async def _sealed(messages: Sequence[OutMessage], seal: Seal) -> list[OutMessage]:
    payloads = [message.payload for message in messages]
    is_long = len(payloads) > _SEALED_INLINE
    sealed = await asyncio.to_thread(seal, payloads) if is_long else seal(payloads)
    return [m._replace(payload=payload) for m, payload in zip(messages, sealed, strict=True)]


def _headers(message: OutMessage) -> dict[str, str] | None:
    if message.msg_id is None:
        return dict(message.headers) if message.headers else None
    if message.headers:
        return {MSG_ID_HEADER: message.msg_id, **message.headers}
    return {MSG_ID_HEADER: message.msg_id}


def _failure(kind: FailureKind, error: str) -> PubOutcome:
    return PubOutcome(False, kind=kind, error=error)


def _read_puback(data: bytes, block: bytes | None) -> PubOutcome:
    if block and status_of(block)[0] == "503":
        return _failure("no_stream", "no stream stores this subject")
    try:
        answer: dict[str, Any] = orjson.loads(data)
        error = answer.get("error")
        if error is None:
            return PubOutcome(True, bool(answer.get("duplicate")), int(answer["seq"]))
    except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError, ValueError):
        return _failure("refused", "unreadable publish acknowledgement")
    if error.get("err_code") == _TOO_LARGE_ERR_CODE:
        return PubOutcome(False, kind="too_large", permanent=True, error=str(error.get("description")))
    return _failure("refused", str(error.get("description", error)))


def _count(messages: Sequence[OutMessage], outcomes: Sequence[PubOutcome]) -> None:
    totals = Tally(
        (stream_of(message.subject) or "core", outcome.ok, outcome.duplicate)
        for message, outcome in zip(messages, outcomes, strict=True)
    )
    for (stream, is_ok, is_duplicate), number in totals.items():
        word = ("duplicate" if is_duplicate else "ok") if is_ok else "error"
        PUBLISHES.labels(stream, word).inc(number)
        if word == "duplicate":
            _log.warning("publish was a duplicate", stream=stream, count=number)
