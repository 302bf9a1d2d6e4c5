"""Locks: a random token under a key with a TTL, released and renewed only by its holder (scheduler spec
§21)."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cordum.domain.errors import CordumError
from cordum.store.connection import RedisClient
from cordum.store.scripts import script

__all__ = ["LeaderLock", "Lock", "run_renewed"]

Work = Callable[[], Coroutine[Any, Any, None]]

_RENEWALS: Final = 3
"""Failed renewals after which a holder stops."""


class Lock:
    """One holder's view of a lock. Not re-entrant; the holder must stop when `renew` says no."""

    def __init__(self, client: RedisClient, key: str, ttl_s: float) -> None:
        self._client = client
        self._key = key
        self.ttl_s = ttl_s
        self.token = secrets.token_hex(16)

    def _ttl_ms(self) -> int:
        return max(1, int(self.ttl_s * 1000))

    async def acquire(self) -> bool:
        """Take the lock if it is free. Raises Unavailable."""
        return (
            await self._client.execute("SET", self._key, self.token, "NX", "PX", self._ttl_ms()) is not None
        )

    async def renew(self) -> bool:
        """Start the TTL anew; False when the lock is lost. Raises Unavailable."""
        command = script("lock_renew").command((self._key,), (self.token, self._ttl_ms()))
        return bool(await self._client.execute(*command))

    async def release(self) -> bool:
        """Give the lock back; False when it was not ours any more. Raises Unavailable."""
        command = script("lock_release").command((self._key,), (self.token,))
        return bool(await self._client.execute(*command))


async def run_renewed(lock: Lock, work: Work) -> bool:
    """Do ``work`` under a lock that is held, renewing it every third of its TTL.

    After three failed renewals the work is cancelled: False. The lock is somebody else's then and must not be released.
    """
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        keeping = group.create_task(_keep(lock, working))
        working.add_done_callback(lambda _: keeping.cancel())
    return not working.cancelled()


async def _keep(lock: Lock, working: asyncio.Task[None]) -> None:
    failures = 0
    while failures < _RENEWALS:
        await asyncio.sleep(lock.ttl_s / 3)
        try:
            renewed = await lock.renew()
        except CordumError:
            renewed = False
        failures = 0 if renewed else failures + 1
    working.cancel()


class LeaderLock:
    """A lock that its holder takes again on every tick, so that one replica leads as long as it lives.

    ``ttl_s`` is usually twice the tick interval, asked for anew on every tick; the lock is not released after a tick.
    """

    def __init__(self, client: RedisClient, key: str, ttl_s: Callable[[], float]) -> None:
        self._lock = Lock(client, key, ttl_s())
        self._ttl_s = ttl_s

    async def try_lead(self) -> bool:
        """Renew or take the lead; tell whether this process leads now. Raises Unavailable."""
        self._lock.ttl_s = self._ttl_s()
        return await self._lock.renew() or await self._lock.acquire()

    async def renew(self) -> bool:
        """Start the TTL anew; False when somebody else leads. Raises Unavailable."""
        return await self._lock.renew()

    async def lead(self, work: Work) -> None:
        """Do the work of a tick, renewing the lead every third of its TTL; three failed renewals stop the work."""
        await run_renewed(self._lock, work)

    async def resign(self) -> None:
        """Give the lead up, e.g. at shutdown. Raises Unavailable."""
        await self._lock.release()
