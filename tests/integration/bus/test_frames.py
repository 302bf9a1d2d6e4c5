"""Hand-built publish frames against a real server and the client's own parser."""

import asyncio

import nats.errors
import pytest
from nats.aio.msg import Msg

from cordum.bus import Bus
from cordum.bus.frames import frame, send_frames

Seen = tuple[str, bytes, str, dict[str, str] | None]


def seen(message: Msg) -> Seen:
    return message.subject, message.data, message.reply, message.headers


CASES: list[tuple[str, bytes, str, dict[str, str] | None]] = [
    ("frames.plain", b"payload", "", None),
    ("frames.empty", b"", "some.reply", None),
    ("frames.bytes", bytes(range(256)), "", {"Nats-Msg-Id": "jobreq:1"}),
    ("frames.umlaut.ä", b"x" * 70_000, "some.reply", {"A": "  a: b  ", "B": "line\r\nbreak"}),
]


async def test_frames_arrive_as_the_clients_own_publishes_do(bus: Bus) -> None:
    received: asyncio.Queue[Seen] = asyncio.Queue()

    async def note(message: Msg) -> None:
        await received.put(seen(message))

    await bus.client.subscribe("frames.>", cb=note)
    for subject, payload, reply, headers in CASES:
        await bus.client.publish(subject, payload, reply=reply, headers=headers)
    await send_frames(bus.client, [frame(*case) for case in CASES] * 20)

    async with asyncio.timeout(10):
        arrived = [await received.get() for _ in range(len(CASES) * 21)]
    assert arrived == arrived[: len(CASES)] * 21
    assert [entry[:3] for entry in arrived[: len(CASES)]] == [case[:3] for case in CASES]


@pytest.mark.parametrize("subject", ["", "two words", "line\r\nPUB x 0\r\n\r\n", "tab\tbed", "nul\0"])
def test_a_subject_that_would_break_the_protocol_is_refused(subject: str) -> None:
    with pytest.raises(nats.errors.BadSubjectError):
        frame(subject, b"")
    if subject:
        with pytest.raises(nats.errors.BadSubjectError):
            frame("fine", b"", reply=subject)


async def test_nothing_is_sent_through_a_closed_connection(bus: Bus) -> None:
    await bus.close()
    with pytest.raises(nats.errors.ConnectionClosedError):
        await send_frames(bus.client, [frame("frames.late", b"")])
