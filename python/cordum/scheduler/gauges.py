"""Gauges every replica samples by itself (scheduler spec §26)."""

import asyncio
from typing import Final

import structlog

from cordum.domain.errors import CordumError
from cordum.scheduler import metrics
from cordum.store.dlq import DeadLetterStore

__all__ = ["keep_dead_letter_depth"]

_EVERY_S: Final = 15.0

_log = structlog.get_logger("cordum.scheduler")


async def keep_dead_letter_depth(letters: DeadLetterStore) -> None:
    """Sample the size of the dead-letter queue for ever."""
    while True:
        try:
            depth = await letters.size()
        except CordumError as error:
            _log.warning("dead letters not counted", error=error.message)
        else:
            metrics.DLQ_ENTRIES.set(depth)
            metrics.DLQ_DEPTH.set(depth)
        await asyncio.sleep(_EVERY_S)
