"""Keeps what the kernel decided, without delaying a decision (policy spec §19.5, decision 0005).

A decision costs one append to a list; encoding and storing happen in a task of their own. What does not fit
the bounded buffers is dropped and counted.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cordum._core import record_decisions
from cordum.config.kernel import KernelSettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.kernel.metrics import DECISIONS_DROPPED, DECISIONS_LOGGED
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.store.connection import RedisClient
from cordum.store.decision_log import append_command
from cordum.v1 import safety_batch_pb2

__all__ = ["DecisionWriter", "Observer", "SharedRedis"]

FLUSH_S: Final = 0.2
FLUSH_BYTES: Final = 1024 * 1024
"""About 4 096 decisions of usual size."""
PENDING_MAX_BYTES: Final = 32 * 1024 * 1024
SEGMENTS_MAX_BYTES: Final = 16 * 1024 * 1024
RETRY_S: Final = 2.0
STORE_TIMEOUT_S: Final = 3.0
_PIPELINE: Final = 64

_log = get_logger()


class Observer(Protocol):
    """Sees every call that counted."""

    def note(self, request: bytes, answer: bytes, *, is_batch: bool) -> None:
        """Take note of one answered call; must return at once."""


class SharedRedis:
    """A connection opened on first need, for a process that also serves without Redis."""

    def __init__(self, connect: Callable[[], Awaitable[RedisClient]]) -> None:
        self._connect = connect
        self._client: RedisClient | None = None
        self._lock = asyncio.Lock()

    async def client(self) -> RedisClient:
        """Return the client. Raises Unavailable."""
        async with self._lock:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def close(self) -> None:
        """Close the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


@dataclass(frozen=True, slots=True)
class _Segment:
    tenant: str
    rows: int
    data: bytes


class DecisionWriter:
    """Buffers calls and writes them as segments at most 200 ms later."""

    def __init__(self, redis: SharedRedis, settings: KernelSettings) -> None:
        self._redis = redis
        self._ttl_s = settings.decision_log_ttl_s
        self._max_bytes = settings.decision_log_max_bytes
        self._calls: list[tuple[bytes, bytes, int, bool]] = []
        self._call_bytes = 0
        self._segments: deque[_Segment] = deque()
        self._segment_bytes = 0
        self._waiting = asyncio.Event()
        self._full = asyncio.Event()
        self._is_failing = False
        self._turn = asyncio.Lock()

    def note(self, request: bytes, answer: bytes, *, is_batch: bool) -> None:
        """Take note of one answered call: serialized request and answer, or batches of them."""
        if not self._ttl_s:
            return
        size = len(request) + len(answer)
        if self._call_bytes + size > PENDING_MAX_BYTES:
            DECISIONS_DROPPED.labels("buffer").inc(_items(answer) if is_batch else 1)
            return
        self._calls.append((request, answer, now_us(), is_batch))
        self._call_bytes += size
        self._waiting.set()
        if self._call_bytes >= FLUSH_BYTES:
            self._full.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._waiting.wait()
            try:
                async with asyncio.timeout(FLUSH_S if not self._is_failing else RETRY_S):
                    await self._full.wait()
            except TimeoutError:
                pass  # the usual case: the interval is over before the buffer is full
            await self.flush()

    async def flush(self) -> None:
        """Encode what is waiting and store it; failures keep a bounded rest for the next time."""
        async with self._turn:
            await self._flush()

    async def _flush(self) -> None:
        calls, self._calls, self._call_bytes = self._calls, [], 0
        self._waiting.clear()
        self._full.clear()
        if calls:
            for tenant, rows, data in await asyncio.to_thread(record_decisions, calls):
                self._segments.append(_Segment(tenant, rows, data))
                self._segment_bytes += len(data)
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._store()
            self._is_failing = False
        except (CordumError, TimeoutError) as error:
            if not self._is_failing:
                _log.warning("decision log cannot be written", reason=str(error) or type(error).__name__)
            self._is_failing = True
            self._waiting.set()
        self._drop_excess()

    async def _store(self) -> None:
        client = await self._redis.client()
        while self._segments:
            batch = [self._segments[i] for i in range(min(_PIPELINE, len(self._segments)))]
            now_ms = now_us() // 1_000
            replies = await client.pipeline(
                [
                    append_command(
                        s.tenant,
                        s.data,
                        s.rows,
                        now_ms=now_ms,
                        ttl_s=self._ttl_s,
                        max_bytes=self._max_bytes,
                    )
                    for s in batch
                ]
            )
            failed = [s for s, r in zip(batch, replies, strict=True) if isinstance(r, Unavailable)]
            for segment, reply in zip(batch, replies, strict=True):
                self._segments.popleft()
                self._segment_bytes -= len(segment.data)
                if isinstance(reply, Unavailable):
                    continue
                if isinstance(reply, Exception):
                    _log.error("decision log segment refused", tenant=segment.tenant, reason=str(reply))
                    DECISIONS_DROPPED.labels("refused").inc(segment.rows)
                else:
                    DECISIONS_LOGGED.inc(segment.rows)
            if failed:
                self._segments.extendleft(reversed(failed))
                self._segment_bytes += sum(len(segment.data) for segment in failed)
                raise Unavailable("a part of redis did not answer")

    def _drop_excess(self) -> None:
        while self._segment_bytes > SEGMENTS_MAX_BYTES:
            segment = self._segments.popleft()
            self._segment_bytes -= len(segment.data)
            DECISIONS_DROPPED.labels("store").inc(segment.rows)


def _items(answer: bytes) -> int:
    return len(safety_batch_pb2.BatchResponse.FromString(answer).items)
