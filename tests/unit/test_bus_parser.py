"""The parser of the bus against the client's own, on the same bytes in any pieces."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.protocol.parser import Parser, ProtocolError

from cordum.bus.headers import headers_of, status_of
from cordum.bus.messages import Delivered, InMessage
from cordum.bus.parser import BatchParser


class Heard:
    """Stands in for the client and notes what its parser tells it."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    async def _process_msg(self, *message: Any) -> None:
        self.said.append(("message", *message))

    async def _process_ping(self) -> None:
        self.said.append(("ping",))

    async def _process_pong(self) -> None:
        self.said.append(("pong",))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.said.append(("info", info))

    async def _process_err(self, error: str) -> None:
        self.said.append(("error", error))


def heard(kind: type[Parser], pieces: list[bytes]) -> list[tuple[Any, ...]]:
    client = Heard()
    parser = kind(client)

    async def run() -> None:
        for piece in pieces:
            await parser.parse(piece)

    asyncio.run(run())
    assert not parser.buf
    return client.said


def message(subject: str, sid: int, reply: str, headers: bytes, payload: bytes) -> bytes:
    reply = f" {reply}" if reply else ""
    if not headers:
        return f"MSG {subject} {sid}{reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
    block = b"NATS/1.0\r\n" + headers + b"\r\n\r\n"
    head = f"HMSG {subject} {sid}{reply} {len(block)} {len(block) + len(payload)}\r\n".encode()
    return head + block + payload + b"\r\n"


words = st.text("abc.$_1", min_size=1, max_size=12)
messages = st.builds(
    message,
    words,
    st.integers(1, 10_000),
    words | st.just(""),
    st.sampled_from([b"", b"A: b", b"Status: 100"]),
    st.binary(max_size=60) | st.sampled_from([b"MSG a 1 3\r\nabc\r\n", b"\r\n", bytes(5_000)]),
)
others = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'Slow'\r\n", b'INFO {"max_payload":1}\r\n']
)


@given(st.lists(messages | others, max_size=20), st.data())
def test_it_hears_what_the_clients_parser_hears(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert heard(BatchParser, pieces) == heard(Parser, [stream])


@pytest.mark.parametrize(
    "line", [b"WHAT\r\n", b"MSG a 1\r\n", b"MSG a x 3\r\nabc\r\n", b"HMSG a 1 9 3\r\nabc\r\n"]
)
def test_what_no_server_says_is_an_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        heard(BatchParser, [b"PING\r\n" + line])


def test_a_new_connection_begins_afresh() -> None:
    parser = BatchParser(client := Heard())

    async def run() -> None:
        await parser.parse(b"MSG a 1 500\r\nabc")
        parser.reset()
        await parser.parse(b"PING\r\nMSG a 1 3\r\nabc\r\n")

    asyncio.run(run())
    assert client.said == [("ping",), ("message", 1, b"a", b"", b"abc", None)]


def test_messages_of_an_inbox_go_the_short_way() -> None:
    parser = BatchParser(client := Heard())
    client.stats = {"in_msgs": 0, "in_bytes": 0}
    taken: list[Delivered] = []

    def take(delivered: Delivered) -> None:
        taken.append(delivered)
        if delivered[3] == b"bad":
            raise ValueError("not read")

    parser.direct[7] = take
    position = "$JS.ACK.S.c.2.77.9.1772358600123456789.3"
    stream = b"".join(
        (
            message("a", 7, position, b"A: b", b"one"),
            message("b", 8, "", b"", b"two"),
            message("a", 7, "", b"", b"bad"),
            message("a", 7, "r", b"", b"three"),
        )
    )

    asyncio.run(parser.parse(stream))

    assert client.said == [("message", 8, b"b", b"", b"two", None)]
    assert client.stats == {"in_msgs": 3, "in_bytes": 11}
    block = b"NATS/1.0\r\nA: b\r\n\r\n"
    assert taken == [
        (7, b"a", position.encode(), b"one", block, (2, 77, 1_772_358_600_123_456)),
        (7, b"a", b"", b"bad", None, None),
        (7, b"a", b"r", b"three", None, None),
    ]
    one = InMessage(taken[0])
    assert (one.delivered, one.stream_seq, one.headers) == (2, 77, {"A": "b"})


header_lines = st.lists(
    st.binary(max_size=12).filter(lambda line: b"\r\n" not in line)
    | st.builds(lambda a, b: f"{a}: {b}".encode(), words, st.text(max_size=8)),
    max_size=4,
)


@given(header_lines)
def test_headers_are_read_as_the_client_reads_them(lines: list[bytes]) -> None:
    block = b"\r\n".join([b"NATS/1.0", *lines, b"", b""])
    assert headers_of(block) == Client._parse_header_lines(block[len(b"NATS/1.0\r\n") :])


def test_the_status_of_an_answer() -> None:
    assert status_of(b"NATS/1.0 503\r\n\r\n") == ("503", "")
    assert status_of(b"NATS/1.0 409 Consumer Deleted\r\nA: b\r\n\r\n") == ("409", "Consumer Deleted")
    assert status_of(b"NATS/1.0 what\r\n\r\n") == ("", "")
    assert status_of(b"NATS/1.0\r\nA: b\r\n\r\n") == ("", "")
    assert status_of(None) == ("", "")
