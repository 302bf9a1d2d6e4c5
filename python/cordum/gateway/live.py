"""Live events for many clients: one subscription set, one serialization, a bounded buffer per client
(protocol spec §21)."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from nats.aio.msg import Msg

from cordum.bus.connection import Bus
from cordum.bus.subscriptions import CoreSubscription
from cordum.config.gateway import GatewaySettings
from cordum.domain.errors import Unavailable
from cordum.gateway import metrics
from cordum.gateway.frames import EVERYBODY, SOURCES, Frame, read_frame
from cordum.security.principal import Caller
from cordum.store.jobs import JobStore

__all__ = ["LiveClient", "LiveHub", "StreamClosed"]

BROADCAST_QUEUE: Final = 512
TENANT_CACHE: Final = 20_000
ATTACH_S: Final = 5.0


class StreamClosed(Exception):
    """The stream ended on our side: WebSocket close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LiveClient:
    """One connected client. ``job_id`` limits it to one job."""

    def __init__(self, caller: Caller, job_id: str, buffer_size: int) -> None:
        self.tenant = caller.tenant
        self.sees_all = caller.cross_tenant
        self.job_id = job_id
        self._size = buffer_size
        self._frames: list[Frame] = []
        self._wake = asyncio.Event()
        self._closed: StreamClosed | None = None

    def offer(self, frame: Frame) -> None:
        """Queue a frame; a full buffer ends the stream."""
        if len(self._frames) >= self._size:
            metrics.STREAM_DROPPED.labels("buffer_full").inc()
            self.close(1013, "buffer_full")
            return
        self._frames.append(frame)
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """End the stream; the first reason stays."""
        self._closed = self._closed or StreamClosed(code, reason)
        self._wake.set()

    async def next(self, timeout_s: float | None = None) -> list[Frame]:
        """Return what arrived; an empty list after ``timeout_s``. Raises StreamClosed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return []
        if self._closed is not None:
            raise self._closed
        self._wake.clear()
        frames, self._frames = self._frames, []
        return frames


class LiveHub:
    """Hears the bus while somebody watches; an unwatched gateway pays nothing. Give ``run`` to the supervisor."""

    def __init__(self, bus: Bus, jobs: JobStore, settings: GatewaySettings) -> None:
        self._bus = bus
        self._jobs = jobs
        self._buffer_size = settings.ws_client_buffer
        self._clients: set[LiveClient] = set()
        self._tenants: OrderedDict[str, str] = OrderedDict()
        self._changed = asyncio.Event()
        self._hearing = asyncio.Event()
        self._stopping = False

    @property
    def client_count(self) -> int:
        """Connected clients."""
        return len(self._clients)

    async def attach(self, caller: Caller, job_id: str = "") -> LiveClient:
        """Connect a client; on return every later event reaches it. Raises Unavailable when the bus is away."""
        client = LiveClient(caller, job_id, self._buffer_size)
        if self._stopping:
            client.close(1001, "server_shutdown")
            return client
        self._clients.add(client)
        metrics.STREAM_CLIENTS.set(len(self._clients))
        self._changed.set()
        try:
            async with asyncio.timeout(ATTACH_S):
                await self._hearing.wait()
        except TimeoutError as error:
            self.detach(client)
            raise Unavailable("live events are not available") from error
        return client

    def detach(self, client: LiveClient) -> None:
        """Forget a client; safe to call twice."""
        self._clients.discard(client)
        metrics.STREAM_CLIENTS.set(len(self._clients))
        self._changed.set()

    def stop(self) -> None:
        """Close every stream and make ``run`` end."""
        self._stopping = True
        for client in self._clients:
            client.close(1001, "server_shutdown")
        self._changed.set()

    async def run(self) -> None:
        """Subscribe while there are clients, until ``stop``."""
        while not self._stopping:
            if self._clients:
                await self._hear()
            else:
                await self._wait_change()

    async def _wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _hear(self) -> None:
        subscriptions = [
            CoreSubscription(self._bus, subject, self._handler(subject), max_pending=BROADCAST_QUEUE)
            for subject in SOURCES
        ]
        async with asyncio.TaskGroup() as tasks:
            for subscription in subscriptions:
                tasks.create_task(subscription.run())
            for subscription in subscriptions:
                await subscription.ready.wait()
            self._hearing.set()
            while self._clients and not self._stopping:
                await self._wait_change()
            self._hearing.clear()
            for subscription in subscriptions:
                subscription.stop()

    def _handler(self, subject: str) -> Callable[[list[Msg]], Awaitable[None]]:
        async def handle(messages: list[Msg]) -> None:
            frames = [frame for frame in (read_frame(subject, m.data) for m in messages) if frame]
            if len(frames) < len(messages):
                metrics.STREAM_DROPPED.labels("undecodable").inc(len(messages) - len(frames))
            await self._broadcast(frames)

        return handle

    async def _broadcast(self, frames: list[Frame]) -> None:
        await self._learn_tenants({f.job_id for f in frames if f.tenant is None} - self._tenants.keys())
        for frame in frames:
            tenant = self._tenants.get(frame.job_id, "") if frame.tenant is None else frame.tenant
            if tenant and frame.tenant is not None and frame.job_id:
                self._remember(frame.job_id, tenant)
            for client in tuple(self._clients):
                if client.job_id and client.job_id != frame.job_id:
                    continue
                if client.sees_all or tenant == EVERYBODY or (tenant and tenant == client.tenant):
                    client.offer(frame)

    async def _learn_tenants(self, job_ids: set[str]) -> None:
        ids = list(job_ids)
        if not ids:
            return
        for job_id, (tenant,) in zip(ids, await self._jobs.fields(ids, ("tenant",)), strict=True):
            if tenant:
                self._remember(job_id, tenant.decode())

    def _remember(self, job_id: str, tenant: str) -> None:
        self._tenants[job_id] = tenant
        while len(self._tenants) > TENANT_CACHE:
            self._tenants.popitem(last=False)
