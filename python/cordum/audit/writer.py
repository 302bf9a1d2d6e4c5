"""Events nobody waits for: they are kept in memory, in order, until they are in the chain (security spec §19.4)."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from cordum.audit.chain import AuditChain
from cordum.audit.events import AuditEvent
from cordum.domain.errors import Unavailable

__all__ = ["AuditWriter"]

_PATIENCE_S: Final = 0.25
_RETRY_S: Final = 0.5
_DRAIN_S: Final = 5.0

_log = structlog.get_logger("cordum.audit")
DROPPED: Final = Counter(
    "cordum_audit_dropped_total", "Audit events that are in the log only, not in the chain.", ["reason"]
)
WAITING: Final = Gauge("cordum_audit_buffered_events", "Audit events that are not in the chain yet.")


class AuditWriter:
    """Brings events into the chain in the background; ``size`` bounds how many wait.

    What must not happen without its event does not belong here: append that to the chain itself.
    """

    def __init__(self, chain: AuditChain, size: int) -> None:
        self._chain = chain
        self._size = size
        self._waiting: deque[AuditEvent] = deque()
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False

    async def record(self, event: AuditEvent) -> None:
        """Take an event. A full buffer is waited for a quarter of a second, then the event is told to the log."""
        if len(self._waiting) >= self._size:
            self._room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._room.wait()
        self.offer(event)

    def offer(self, event: AuditEvent) -> None:
        """Take an event without waiting: when the buffer is full it is told to the log."""
        if len(self._waiting) >= self._size:
            self._give_up(event, "buffer_full")
            return
        self._waiting.append(event)
        WAITING.set(len(self._waiting))
        self._more.set()

    async def run(self) -> None:
        """Append what comes until `stop`, then what is left, for at most five seconds."""
        while not (self._stopping and not self._waiting):
            await self._more.wait()
            self._more.clear()
            await self._drain()

    def stop(self) -> None:
        """End `run` once everything is in the chain."""
        self._stopping = True
        self._more.set()

    async def _drain(self) -> None:
        left_s = _DRAIN_S
        while self._waiting:
            try:
                await self._chain.append(self._waiting[0])
            except Unavailable as error:
                if self._stopping:
                    left_s -= _RETRY_S
                if left_s <= 0:
                    self._abandon()
                    return
                _log.warning("audit events wait", count=len(self._waiting), reason=error.message)
                await asyncio.sleep(_RETRY_S)
                continue
            self._waiting.popleft()
            self._room.set()
            WAITING.set(len(self._waiting))

    def _abandon(self) -> None:
        while self._waiting:
            self._give_up(self._waiting.popleft(), "stopped")

    def _give_up(self, event: AuditEvent, reason: str) -> None:
        DROPPED.labels(reason).inc()
        _log.error("audit event not in the chain", cause=reason, audit_event=event.fields())
