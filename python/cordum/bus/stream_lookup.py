"""Looking up which dispatches reached the stream, to settle unconfirmed ones (scheduler spec §31.3).

An answer is complete or an error: saying "absent" without having read everything would run a job twice.
"""

import asyncio
import json
from collections.abc import Set
from datetime import UTC, datetime
from typing import Final

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import api

from cordum.bus.connection import Bus
from cordum.bus.messages import MSG_ID_HEADER
from cordum.domain.errors import Unavailable
from cordum.protocol import subjects

__all__ = ["find_message_ids"]

SCAN_LIMIT: Final = 200_000
PAGE: Final = 1_000
DEADLINE_S: Final = 10.0
INACTIVE_S: Final = 15.0

_log = structlog.get_logger("cordum.bus")


async def find_message_ids(
    bus: Bus,
    subject: str,
    since_us: int,
    wanted: Set[str],
    *,
    stream: str = subjects.STREAM_JOBS,
    deadline_s: float = DEADLINE_S,
) -> set[str]:
    """Return which ``wanted`` `Nats-Msg-Id` values ``subject`` holds since ``since_us`` (µs since the epoch).

    Reads headers only, through an ephemeral consumer that is deleted afterwards. Raises Unavailable when the
    stream cannot be read to its end in time or holds more than 200 000 messages since then.
    """
    if not wanted:
        return set()
    try:
        async with asyncio.timeout(deadline_s):
            info = await bus.js.add_consumer(stream, _consumer(subject, since_us))
            try:
                return await _read(bus, info, set(wanted))
            finally:
                await _delete(bus, info)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        raise Unavailable(f"stream `{stream}` cannot be read: {error or type(error).__name__}") from error


def _consumer(subject: str, since_us: int) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        deliver_policy=api.DeliverPolicy.BY_START_TIME,
        opt_start_time=datetime.fromtimestamp(since_us / 1_000_000, UTC),
        ack_policy=api.AckPolicy.NONE,
        filter_subject=subject,
        headers_only=True,
        mem_storage=True,
        num_replicas=1,
        inactive_threshold=INACTIVE_S,
    )


async def _read(bus: Bus, info: api.ConsumerInfo, wanted: set[str]) -> set[str]:
    left = info.num_pending or 0
    if left > SCAN_LIMIT:
        raise Unavailable(f"stream `{info.stream_name}` holds too much to settle: {left} messages")
    found: set[str] = set()
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = bus.client.new_inbox()
    subscription = await bus.client.subscribe(inbox, cb=arrived.put)
    try:
        while left > 0 and found != wanted:
            count = min(left, PAGE)
            await _request_page(bus, info, count, inbox)
            for _ in range(count):
                message = await arrived.get()
                if not message.reply:
                    raise nats.errors.Error(f"pull ended early: {message.headers}")
                identity = (message.headers or {}).get(MSG_ID_HEADER)
                if identity in wanted:
                    found.add(identity)
            left -= count
    finally:
        await subscription.unsubscribe()
    return found


async def _request_page(bus: Bus, info: api.ConsumerInfo, count: int, inbox: str) -> None:
    request = {"batch": count, "expires": int(DEADLINE_S * 1e9)}
    await bus.client.publish(
        f"$JS.API.CONSUMER.MSG.NEXT.{info.stream_name}.{info.name}", json.dumps(request).encode(), reply=inbox
    )


async def _delete(bus: Bus, info: api.ConsumerInfo) -> None:
    try:
        await bus.js.delete_consumer(info.stream_name, info.name)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        # The server removes it by itself after its inactive threshold.
        _log.info("lookup consumer not deleted", error=str(error) or type(error).__name__)
