"""Members of the dead-letter indexes whose entries have expired are removed once an hour (scheduler spec §13)."""

import asyncio
from typing import Final

from cordum.domain.errors import CordumError
from cordum.runtime.logs import get_logger
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.locks import Lock

__all__ = ["DeadLetterCleanup"]

EVERY_S: Final = 3_600.0
_RETRY_S: Final = 60.0

_log = get_logger()


class DeadLetterCleanup:
    """Runs on one gateway at a time. Give ``run`` to the supervisor."""

    def __init__(self, redis: RedisClient, letters: DeadLetterStore) -> None:
        self._redis = redis
        self._letters = letters

    async def run(self) -> None:
        """Clean up for ever. The lock is not given back: it ends when the next turn is due."""
        while True:
            wait_s = EVERY_S
            try:
                await self.turn()
            except CordumError as error:
                _log.warning("dead-letter indexes not cleaned up", reason=error.message)
                wait_s = _RETRY_S
            await asyncio.sleep(wait_s)

    async def turn(self) -> int | None:
        """Clean up unless somebody did within the hour; return how many members went. Raises Unavailable."""
        if not await Lock(self._redis, keys.LOCK_DLQ_CLEANUP, EVERY_S).acquire():
            return None
        removed = await self._letters.forget_expired()
        if removed:
            _log.info("dead-letter indexes cleaned up", removed=removed)
        return removed
