"""Locks: a random token under a key with a TTL, released and renewed only by its holder (scheduler spec
§21)."""

import secrets

from cordum.store.connection import RedisClient
from cordum.store.scripts import script

__all__ = ["LeaderLock", "Lock"]


class Lock:
    """One holder's view of a lock. Not re-entrant; the holder must stop when `renew` says no."""

    def __init__(self, client: RedisClient, key: str, ttl_s: float) -> None:
        self._client = client
        self._key = key
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self.token = secrets.token_hex(16)

    async def acquire(self) -> bool:
        """Take the lock if it is free. Raises Unavailable."""
        return await self._client.execute("SET", self._key, self.token, "NX", "PX", self._ttl_ms) is not None

    async def renew(self) -> bool:
        """Start the TTL anew; False when the lock is lost. Raises Unavailable."""
        command = script("lock_renew").command((self._key,), (self.token, self._ttl_ms))
        return bool(await self._client.execute(*command))

    async def release(self) -> bool:
        """Give the lock back; False when it was not ours any more. Raises Unavailable."""
        command = script("lock_release").command((self._key,), (self.token,))
        return bool(await self._client.execute(*command))


class LeaderLock:
    """A lock that its holder takes again on every tick, so that one replica leads as long as it lives.

    ``ttl_s`` is usually twice the tick interval; it is not released after a tick.
    """

    def __init__(self, client: RedisClient, key: str, ttl_s: float) -> None:
        self._lock = Lock(client, key, ttl_s)

    async def try_lead(self) -> bool:
        """Renew or take the lead; tell whether this process leads now. Raises Unavailable."""
        return await self._lock.renew() or await self._lock.acquire()

    async def renew(self) -> bool:
        """Keep the lead during a long tick; False when it is lost. Raises Unavailable."""
        return await self._lock.renew()

    async def resign(self) -> None:
        """Give the lead up, e.g. at shutdown. Raises Unavailable."""
        await self._lock.release()
