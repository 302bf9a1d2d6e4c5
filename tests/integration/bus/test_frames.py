"""Hand-built publish frames against a real server and the client's own parser."""

import asyncio

import nats.errors
import pytest
from nats.aio.msg import Msg

from cordum.bus import Bus
from cordum.bus.frames import Frame, send_frames

Seen = tuple[str, bytes, str, dict[str, str] | None]


def seen(message: Msg) -> Seen:
    return message.subject, message.data, message.reply, message.headers


CASES: list[Frame] = [
    ("frames.plain", b"payload", None, None),
    ("frames.empty", b"", None, {}),
    ("frames.bytes", bytes(range(256)), "jobreq:1", None),
    ("frames.umlaut.ä", b"x" * 70_000, "jobreq:2", {"A": "  a: b  ", "B": "line\r\nbreak"}),
]


async def _note(bus: Bus) -> asyncio.Queue[Seen]:
    received: asyncio.Queue[Seen] = asyncio.Queue()

    async def note(message: Msg) -> None:
        await received.put(seen(message))

    await bus.client.subscribe("frames.>", cb=note)
    return received


async def _arrived(received: asyncio.Queue[Seen], number: int) -> list[Seen]:
    async with asyncio.timeout(10):
        return [await received.get() for _ in range(number)]


async def test_frames_arrive_as_the_clients_own_publishes_do(bus: Bus) -> None:
    received = await _note(bus)
    for index, (subject, payload, msg_id, headers) in enumerate(CASES):
        every = ({"Nats-Msg-Id": msg_id} if msg_id else {}) | dict(headers or {})
        await bus.client.publish(subject, payload, reply=f"some.reply.{index}", headers=every or None)
    assert await send_frames(bus.client, CASES, reply_prefix="some.reply.") == []

    arrived = await _arrived(received, 2 * len(CASES))
    assert arrived[len(CASES) :] == arrived[: len(CASES)]
    assert [entry[:2] for entry in arrived[: len(CASES)]] == [case[:2] for case in CASES]


async def test_more_frames_than_one_buffer_holds_keep_their_order(bus: Bus) -> None:
    received = await _note(bus)
    frames: list[Frame] = [(f"frames.{number}", bytes(30_000), None, None) for number in range(100)]
    assert await send_frames(bus.client, frames) == []

    arrived = await _arrived(received, len(frames))
    assert [(subject, reply) for subject, _, reply, _ in arrived] == [(frame[0], "") for frame in frames]


async def test_an_atomic_batch_is_numbered(bus: Bus) -> None:
    received = await _note(bus)
    await send_frames(bus.client, CASES[1:3], batch_id="b1")

    (*_, first), (*_, second) = await _arrived(received, 2)
    assert first == {"Nats-Batch-Id": "b1", "Nats-Batch-Sequence": "1"}
    assert second == {"Nats-Batch-Id": "b1", "Nats-Batch-Sequence": "2", "Nats-Msg-Id": "jobreq:1"}


@pytest.mark.parametrize("subject", ["", "two words", "line\r\nPUB x 0\r\n\r\n", "tab\tbed", "nul\0"])
async def test_a_subject_that_would_break_the_protocol_is_left_out(bus: Bus, subject: str) -> None:
    received = await _note(bus)
    frames: list[Frame] = [
        ("frames.a", b"", None, None),
        (subject, b"", None, None),
        ("frames.b", b"", None, None),
    ]
    assert await send_frames(bus.client, frames) == [1]

    assert [entry[0] for entry in await _arrived(received, 2)] == ["frames.a", "frames.b"]
    if subject:
        assert await send_frames(bus.client, frames[:1], reply_prefix=subject) == [0]


async def test_nothing_is_sent_through_a_closed_connection(bus: Bus) -> None:
    await bus.close()
    with pytest.raises(nats.errors.ConnectionClosedError):
        await send_frames(bus.client, CASES)
