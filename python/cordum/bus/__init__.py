"""NATS: connection, streams, confirmed publishing, batch consumers, core subscriptions, stream look-up."""

from cordum.bus.connection import Bus
from cordum.bus.consumer import BatchConsumer, BatchHandler
from cordum.bus.messages import (
    ACK,
    CORRUPT_RETRY,
    NAK,
    TERM,
    InMessage,
    OutMessage,
    PubOutcome,
    Verdict,
    is_poison,
)
from cordum.bus.publisher import Publisher
from cordum.bus.stream_lookup import find_message_ids
from cordum.bus.streams import ensure_streams, keep_streams, stream_of
from cordum.bus.subscriptions import CoreHandler, CoreSubscription

__all__ = [
    "ACK",
    "CORRUPT_RETRY",
    "NAK",
    "TERM",
    "BatchConsumer",
    "BatchHandler",
    "Bus",
    "CoreHandler",
    "CoreSubscription",
    "InMessage",
    "OutMessage",
    "PubOutcome",
    "Publisher",
    "Verdict",
    "ensure_streams",
    "find_message_ids",
    "is_poison",
    "keep_streams",
    "stream_of",
]
