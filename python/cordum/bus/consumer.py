"""Durable pull consumer that hands whole batches to a handler (protocol spec §8.2, §8.4; architecture §4).

Messages flow on standing pull requests into a bounded buffer. A batch is whatever the buffer holds when a
slot is free, so batches grow with load and an idle consumer handles a single message at once. While messages
are held, buffered or in a handler, their ack deadline is extended every third of the ack wait.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api

from cordum.bus.connection import Bus
from cordum.bus.frames import Frame, send_frames
from cordum.bus.headers import headers_of, status_of
from cordum.bus.messages import NAK, Delivered, InMessage, Verdict
from cordum.bus.metrics import CONSUMER_PENDING, HANDLER_FAILURES, REDELIVERIES
from cordum.config.nats import NatsSettings
from cordum.protocol.subjects import durable_name

__all__ = ["BatchConsumer", "BatchHandler"]

BatchHandler = Callable[[list[InMessage]], Awaitable[Sequence[Verdict]]]
"""Decides a batch: one verdict per message, in order. An exception means: all of them again in one second."""

PULL_EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 5.0
REPAIR_BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
GAUGE_INTERVAL_S: Final = 15.0
DRAIN_S: Final = 10.0
LEAVE_S: Final = 2.0
WARN_DELIVERIES: Final = 51
_IN_PROGRESS: Final = b"+WPI"
_HANDLER_FAILED: Final = NAK(1.0)
_NOT_STARTED: Final = NAK(0.0)

_log = structlog.get_logger("cordum.bus")


class BatchConsumer:
    """One durable consumer, shared by the replicas of a service. Give ``run`` to the supervisor."""

    def __init__(
        self,
        bus: Bus,
        stream: str,
        subject: str,
        queue: str,
        settings: NatsSettings,
        handler: BatchHandler,
        *,
        batch_max: int = 256,
        linger_ms: float = 2.0,
        in_flight: int = 2,
        drain_s: float = DRAIN_S,
        batch_limit: Callable[[], int] | None = None,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._subject = subject
        self._queue = queue
        self._settings = settings
        self._handler = handler
        self._batch_max = batch_max
        self._linger_s = linger_ms / 1_000
        self._drain_s = drain_s
        self._credit = batch_max * in_flight
        self.durable = durable_name(queue, subject)
        self._log = _log.bind(consumer=self.durable)
        self._redeliveries = REDELIVERIES.labels(self.durable)
        self._batch_limit = batch_limit or (lambda: batch_max)
        self._slots = asyncio.Semaphore(in_flight)
        self._running: dict[asyncio.Task[None], list[InMessage]] = {}
        self._buffer: list[InMessage] = []
        self._requested = 0
        self._inbox = ""
        self._last_sign_s = 0.0
        self._known = False  # whether the durable was seen to exist since the last trouble
        self._refusals = 0
        self._wake = asyncio.Event()
        self._repair = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._stopping = False

    @property
    def held(self) -> int:
        """Messages received and not yet answered: buffered ones and those in a handler."""
        return len(self._buffer) + sum(map(len, self._running.values()))

    @property
    def is_backed_up(self) -> bool:
        """Whether messages wait for a batch of theirs."""
        return bool(self._buffer) and self._resumed.is_set()

    def pause(self) -> None:
        """Start no further batches and ask for no more; messages already received keep their ack deadline extended."""
        self._resumed.clear()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._resumed.set()
        self._repair.set()

    def stop(self) -> None:
        """Make ``run`` end: started batches finish within the drain time, the rest is given back."""
        self._stopping = True
        self._resumed.set()
        self._wake.set()

    async def run(self) -> None:
        """Consume until ``stop``. Survives NATS restarts; raises nothing of NATS's."""
        subscription = await self._subscribe()
        self._bus.on_reconnect(self._on_reconnect)
        try:
            async with asyncio.TaskGroup() as group:
                keepers = [group.create_task(self._extend_held())]
                if self._bus.jetstream:
                    self._repair.set()
                    keepers += [
                        group.create_task(self._keep_pulling()),
                        group.create_task(self._poll_pending()),
                    ]
                await self._start_batches(group)
                await self._leave(subscription)
                await self._drain()
                for keeper in keepers:
                    keeper.cancel()
        finally:
            self._bus.remove_on_reconnect(self._on_reconnect)
            if not self._stopping:
                await self._unsubscribe(subscription)
            self._bus.forget_inbox(subscription)

    # -- receiving ---------------------------------------------------------------------------------

    async def _subscribe(self) -> Subscription:
        client = self._bus.client
        if not self._bus.jetstream:
            return await client.subscribe(self._subject, queue=self._queue, cb=self._on_message)
        self._inbox = client.new_inbox()
        return await self._bus.subscribe_inbox(self._inbox, self._on_delivered)

    async def _on_message(self, message: Msg) -> None:
        self._take(InMessage.of(message))

    def _on_delivered(self, delivered: Delivered) -> None:
        self._last_sign_s = time.monotonic()
        *_, block, position = delivered
        if position is None:
            self._on_status(block)
            return
        self._requested -= 1
        self._refusals = 0
        self._take(InMessage(delivered))

    def _take(self, message: InMessage) -> None:
        if message.delivered > 1:
            self._redeliveries.inc()
            if message.delivered >= WARN_DELIVERIES:
                self._log.warning(
                    "message delivered many times", delivered=message.delivered, seq=message.stream_seq
                )
        self._buffer.append(message)
        self._wake.set()

    def _on_status(self, block: bytes | None) -> None:
        status, reason = status_of(block)
        if status == "100":
            return
        if status == "408":  # the request ran out of time: normal while idle
            left = headers_of(block).get("Nats-Pending-Messages", "0")
            self._requested = max(0, self._requested - int(left))
        else:
            self._log.info("pull request refused", status=status, reason=reason)
            self._requested, self._known = 0, False
            self._refusals += 1
        self._repair.set()

    async def _on_reconnect(self) -> None:
        self._requested, self._known = 0, False
        self._repair.set()

    # -- pulling -----------------------------------------------------------------------------------

    async def _keep_pulling(self) -> None:
        """Keep the consumer existing and a pull request standing; the heartbeat tells when one was lost."""
        failures = 0
        while not self._stopping:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._repair.wait()
                    self._repair.clear()
            except TimeoutError:
                if self._requested > 0 and time.monotonic() - self._last_sign_s > 2 * HEARTBEAT_S:
                    self._requested, self._known = 0, False
            if not self._bus.is_connected or self._stopping:
                continue
            if self._refusals:
                await asyncio.sleep(_backoff(self._refusals))
            try:
                if not self._known:
                    await self._ensure_consumer()
                    self._known = True
                await self._pull()
                failures = 0
            except (TimeoutError, OSError, nats.errors.Error) as error:
                failures += 1
                self._log.warning("cannot pull", error=str(error) or type(error).__name__, failures=failures)
                await asyncio.sleep(_backoff(failures))
                self._repair.set()

    async def _ensure_consumer(self) -> None:
        """Create the durable or correct it when it differs; the server compares."""
        await self._bus.js.add_consumer(
            self._stream,
            api.ConsumerConfig(
                durable_name=self.durable,
                deliver_policy=api.DeliverPolicy.ALL,
                ack_policy=api.AckPolicy.EXPLICIT,
                filter_subject=self._subject,
                ack_wait=self._settings.js_ack_wait_s,
                max_deliver=-1,
                max_ack_pending=self._settings.max_ack_pending,
            ),
        )

    async def _pull(self) -> None:
        """Ask for as many messages as there is room for, once at least half of the room is free."""
        room = self._credit - len(self._buffer) - max(0, self._requested)
        if self._stopping or not self._bus.jetstream or room * 2 < self._credit:
            return
        if not self._resumed.is_set():
            return
        self._requested = max(0, self._requested) + room
        self._last_sign_s = time.monotonic()
        request = {
            "batch": room,
            "expires": int(PULL_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        await self._bus.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.durable}",
            json.dumps(request).encode(),
            reply=self._inbox,
        )

    # -- batches -----------------------------------------------------------------------------------

    async def _start_batches(self, group: asyncio.TaskGroup) -> None:
        while not self._stopping:
            await self._slots.acquire()
            batch = await self._next_batch()
            if not batch:
                self._slots.release()
                continue
            task = group.create_task(self._handle(batch))
            self._running[task] = batch

    async def _next_batch(self) -> list[InMessage]:
        """Wait for messages and take up to ``batch_max``; empty when stopping or paused meanwhile."""
        while not self._buffer and not self._stopping:
            self._wake.clear()
            await self._wake.wait()
        await self._resumed.wait()
        if self._running and len(self._buffer) < self._batch_max and self._linger_s > 0:
            # Another batch keeps the service busy anyway: a little patience makes this one cheaper per
            # message.
            await asyncio.sleep(self._linger_s)
        if self._stopping:
            return []
        limit = max(1, min(self._batch_max, self._batch_limit()))
        batch, self._buffer = self._buffer[:limit], self._buffer[limit:]
        if self._bus.is_connected:
            try:
                await self._pull()
            except (OSError, nats.errors.Error):
                self._repair.set()
        return batch

    async def _handle(self, batch: list[InMessage]) -> None:
        verdicts: Sequence[Verdict] = ()
        try:
            verdicts = await self._handler(batch)
            if len(verdicts) != len(batch):
                raise ValueError(f"handler gave {len(verdicts)} verdicts for {len(batch)} messages")
        except asyncio.CancelledError:
            await self._answer(zip(batch, [_NOT_STARTED] * len(batch), strict=True))
            raise
        except Exception:  # protocol spec §8.4: an unexpected exception is never an ack
            HANDLER_FAILURES.labels(self.durable).inc()
            self._log.exception("handler failed", batch=len(batch), first_seq=batch[0].stream_seq)
            verdicts = [_HANDLER_FAILED] * len(batch)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
            self._slots.release()
        await self._answer(zip(batch, verdicts, strict=True))

    async def _answer(self, answers: Iterable[tuple[InMessage, Verdict]]) -> None:
        """Send verdicts; one that is lost only means a redelivery."""
        if not self._bus.jetstream:
            return
        frames: list[Frame] = [(m.reply, verdict.payload, None, None) for m, verdict in answers]
        try:
            await send_frames(self._bus.client, frames)
        except (OSError, nats.errors.Error) as error:
            self._log.warning(
                "acks not sent, messages will come again", error=str(error) or type(error).__name__
            )

    async def _leave(self, subscription: Subscription) -> None:
        """End the interest, so that standing pull requests stop, and receive what is on its way."""
        try:
            async with asyncio.timeout(LEAVE_S):
                if self._bus.is_connected:
                    await subscription.drain()
                    return
        except (TimeoutError, OSError, nats.errors.Error) as error:
            self._log.info("subscription not drained", error=str(error) or type(error).__name__)
        await self._unsubscribe(subscription)

    async def _unsubscribe(self, subscription: Subscription) -> None:
        try:
            await subscription.unsubscribe()
        except (OSError, nats.errors.Error) as error:
            self._log.info("not unsubscribed", error=str(error) or type(error).__name__)

    async def _drain(self) -> None:
        """Give back what was not started, then let started batches finish within the drain time."""
        given_back, self._buffer = self._buffer, []
        await self._answer((message, _NOT_STARTED) for message in given_back)
        if self._running:
            _, late = await asyncio.wait(tuple(self._running), timeout=self._drain_s)
            for task in late:
                self._log.warning("batch abandoned at shutdown")
                task.cancel()

    # -- upkeep ------------------------------------------------------------------------------------

    async def _extend_held(self) -> None:
        while True:
            await asyncio.sleep(self._settings.js_ack_wait_s / 3)
            if not self._bus.jetstream or not self._bus.is_connected or not self.held:
                continue
            held = [*self._buffer, *(message for batch in self._running.values() for message in batch)]
            frames: list[Frame] = [(message.reply, _IN_PROGRESS, None, None) for message in held]
            try:
                await send_frames(self._bus.client, frames)
            except (OSError, nats.errors.Error) as error:
                self._log.warning("ack deadlines not extended", error=str(error) or type(error).__name__)

    async def _poll_pending(self) -> None:
        gauge = CONSUMER_PENDING.labels(self.durable)
        while True:
            await asyncio.sleep(GAUGE_INTERVAL_S)
            if not self._bus.is_connected:
                continue
            try:
                gauge.set((await self._bus.js.consumer_info(self._stream, self.durable)).num_pending or 0)
            except (TimeoutError, OSError, nats.errors.Error) as error:
                self._log.info("consumer info failed", error=str(error) or type(error).__name__)


def _backoff(tries: int) -> float:
    return REPAIR_BACKOFF_S[min(tries, len(REPAIR_BACKOFF_S)) - 1]
