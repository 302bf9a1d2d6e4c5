"""Eyes on the bus: every dispatch as a plain subscriber sees it, and what the streams hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import nats
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api

from cordum.protocol.cap import BusPacket

_PAGE = 1000


class SeenDispatch(NamedTuple):
    """One message that hands a job to a worker."""

    job_id: str
    dispatch_id: str
    attempt: int
    subject: str
    message_id: str


class SeenResult(NamedTuple):
    """One result packet; ``status`` is the number of `JobStatus`."""

    job_id: str
    status: int
    dispatch_id: str


class DispatchObserver:
    """Subscribes to everything a worker could receive, with core NATS as workers do."""

    def __init__(self) -> None:
        self.dispatches: list[SeenDispatch] = []
        self._more = asyncio.Event()

    async def _on_message(self, message: Msg) -> None:
        dispatch = _dispatch(message)
        if dispatch is not None:
            self.dispatches.append(dispatch)
            self._more.set()

    async def reach(self, count: int, timeout_s: float = 30.0) -> None:
        """Return as soon as ``count`` dispatches were seen; fail after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.dispatches) < count:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError as error:
            raise AssertionError(f"{len(self.dispatches)} of {count} dispatches in {timeout_s} s") from error

    @asynccontextmanager
    async def watching(self, url: str) -> AsyncIterator["DispatchObserver"]:
        """Observe for the length of the block; what passes while NATS is away is not seen."""
        client = await connect(url)
        for subject in ("job.>", "worker.>"):
            await client.subscribe(subject, cb=self._on_message)
        await client.flush()
        try:
            yield self
        finally:
            await client.close()


async def connect(url: str) -> Client:
    """Connect so that a restart of the server is survived; ``url`` may list several nodes."""

    async def quiet(_error: Exception) -> None:
        """Disconnections are what these tests are about."""

    return await nats.connect(
        url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=quiet
    )


async def stored_dispatches(url: str) -> list[SeenDispatch]:
    """Return every dispatch in the stream `CORDUM_JOBS`, oldest first."""
    found = map(_dispatch, await stored_messages(url, "CORDUM_JOBS", ">"))
    return [dispatch for dispatch in found if dispatch is not None]


async def accepted_results(url: str) -> list[SeenResult]:
    """Return every accepted result in the stream `CORDUM_SYS`, oldest first."""
    found = await stored_messages(url, "CORDUM_SYS", "sys.internal.job.result.accepted")
    results = (BusPacket.FromString(message.data).job_result for message in found)
    return [SeenResult(result.job_id, result.status, result.dispatch.dispatch_id) for result in results]


async def stored_messages(url: str, stream: str, subject: str) -> list[Msg]:
    """Return all messages of a stream that match ``subject``."""
    client = await connect(url)
    try:
        config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE)
        pull = await client.jetstream().pull_subscribe(subject, stream=stream, config=config)
        left = (await pull.consumer_info()).num_pending or 0
        messages: list[Msg] = []
        while len(messages) < left:
            messages += await pull.fetch(min(_PAGE, left - len(messages)), timeout=10)
        return messages
    finally:
        await client.close()


async def pending_of(url: str, stream: str) -> int:
    """Return how many messages the durable consumers of a stream have not acknowledged."""
    client = await connect(url)
    try:
        infos = await client.jetstream().consumers_info(stream)
        return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)
    finally:
        await client.close()


def _dispatch(message: Msg) -> SeenDispatch | None:
    """Read a dispatch; None for what did not come from the scheduler."""
    try:
        packet = BusPacket.FromString(message.data)
    except DecodeError:
        return None
    if packet.sender_id != "cordum-scheduler":
        return None
    identity = packet.job_request.dispatch
    message_id = (message.headers or {}).get("Nats-Msg-Id", "")
    job_id = packet.job_request.job_id
    return SeenDispatch(job_id, identity.dispatch_id, identity.attempt, message.subject, message_id)
