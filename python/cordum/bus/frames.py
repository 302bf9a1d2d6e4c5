"""Publish frames of the NATS client protocol, many per call (architecture §4).

The client's own `publish` costs about 6 µs a message (validation, headers, a buffer entry and a flush check
each); with four publishes per job it was the largest single cost of the scheduler. This module writes the same
`PUB` and `HPUB` frames (NATS client protocol) in Rust and hands the client one buffer entry for many of them. It is the
only place that knows the client's send buffer; `tests/integration/bus/test_frames.py` shows that what arrives
is what `publish` would have sent.
"""

from collections.abc import Mapping, Sequence

import nats.errors
from nats.aio.client import Client

from cordum import _core
from cordum.bus.connection import PENDING_BYTES

__all__ = ["Frame", "send_frames"]

Frame = tuple[str, bytes, str | None, Mapping[str, str] | None]
"""What a frame is made of: subject, payload, `Nats-Msg-Id` and further headers. A header's value is trimmed."""


async def send_frames(
    client: Client, frames: Sequence[Frame], *, reply_prefix: str = "", batch_id: str = ""
) -> list[int]:
    """Hand frames to the client's send buffer in their order; while disconnected they wait there, as with `publish`.

    With ``reply_prefix`` the answer to a frame goes to that and its index; with ``batch_id`` they are the first
    messages of an atomic batch. Returns the indexes of those that were left out, because their subject is not one
    printable word. Raises ConnectionClosedError, ConnectionDrainingError, or OutboundBufferLimitError when the
    buffer is full.
    """
    if client.is_closed:
        raise nats.errors.ConnectionClosedError
    if client.is_draining_pubs:
        raise nats.errors.ConnectionDrainingError
    chunks, refused = _core.publish_frames(list(frames), reply_prefix, batch_id)
    for chunk in chunks:
        if not client.is_connected and client.pending_data_size + len(chunk) > PENDING_BYTES:
            raise nats.errors.OutboundBufferLimitError
        client.stats["out_bytes"] += len(chunk)
        await client._send_command(chunk)
        await client._flush_pending()
    client.stats["out_msgs"] += len(frames) - len(refused)
    return refused
