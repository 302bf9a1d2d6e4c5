"""Core NATS subscriptions with batched delivery and bounded pending (protocol spec §7).

Delivery is at most once. When the handler falls behind, the newest messages are dropped and counted; the
connection itself re-subscribes after a reconnect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from nats.aio.msg import Msg

from cordum.bus.connection import Bus
from cordum.bus.metrics import CORE_DROPPED

__all__ = ["CoreHandler", "CoreSubscription"]

CoreHandler = Callable[[list[Msg]], Awaitable[None]]
"""Handles messages in order of arrival; an exception is logged and the batch is gone."""

MAX_PENDING: Final = 65_536
MAX_PENDING_BYTES: Final = 64 * 1024 * 1024

_log = structlog.get_logger("cordum.bus")


class CoreSubscription:
    """One subscription; without ``queue`` every replica hears all. Give ``run`` to the supervisor."""

    def __init__(
        self,
        bus: Bus,
        subject: str,
        handler: CoreHandler,
        *,
        queue: str = "",
        batch_max: int = 1_024,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._bus = bus
        self._subject = subject
        self._handler = handler
        self._queue = queue
        self._batch_max = batch_max
        self._max_pending = max_pending
        self._dropped = CORE_DROPPED.labels(subject)
        self._pending: list[Msg] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self.ready = asyncio.Event()
        """Set once the server knows the subscription."""

    def stop(self) -> None:
        """Make ``run`` end after the messages already received."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Receive until ``stop``."""
        subscription = await self._bus.client.subscribe(
            self._subject, queue=self._queue, cb=self._on_message, pending_bytes_limit=MAX_PENDING_BYTES
        )
        try:
            if self._bus.is_connected:
                await self._bus.client.flush()
            self.ready.set()
            while True:
                while not self._pending and not self._stopping:
                    self._wake.clear()
                    await self._wake.wait()
                if not self._pending:
                    return
                batch, self._pending = self._pending[: self._batch_max], self._pending[self._batch_max :]
                await self._handle(batch)
        finally:
            self.ready.clear()
            if not self._bus.client.is_closed and not self._bus.client.is_draining:
                await subscription.unsubscribe()

    async def _on_message(self, message: Msg) -> None:
        if len(self._pending) >= self._max_pending:
            self._dropped.inc()
            return
        self._pending.append(message)
        self._wake.set()

    async def _handle(self, batch: list[Msg]) -> None:
        try:
            await self._handler(batch)
        except Exception:  # at most once: the next batch must still be served
            _log.exception("core handler failed", subject=self._subject, batch=len(batch))
