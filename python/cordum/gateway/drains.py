"""Draining pools become inactive when their jobs are done or their time is up (gateway spec §19)."""

import asyncio
from datetime import datetime
from typing import Any, Final

from cordum.domain.errors import CordumError
from cordum.gateway.document_edits import DocumentEdits
from cordum.gateway.fleet import Fleet
from cordum.gateway.pools import DRAIN_DEFAULT_S, PoolEditor, retired
from cordum.gateway.routing import SYSTEM
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.security.principal import Caller
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.locks import LeaderLock

__all__ = ["DrainChecker", "is_drained"]

_EVERY_S: Final = 10.0
_SETTLE_US: Final = 6_000_000
"""A snapshot shows the end of a pool's work only when its workers had time for a heartbeat after the last dispatch."""
_CHECKER: Final = Caller(tenant="default", role="admin", principal="pool-drain")

_log = get_logger()


def is_drained(name: str, entry: dict[str, Any], fleet: Fleet, now: int) -> bool:
    """Tell whether a draining pool is done at ``now`` (µs)."""
    try:
        started = int(datetime.fromisoformat(str(entry.get("drain_started_at"))).timestamp() * 1_000_000)
    except ValueError:
        # Nobody knows when it began: the snapshot alone decides.
        started = 0
    timeout_s = entry.get("drain_timeout_seconds", DRAIN_DEFAULT_S)
    if started and now - started >= timeout_s * 1_000_000:
        return True
    return fleet.captured_us >= started + _SETTLE_US and fleet.active_jobs(name) == 0


class DrainChecker:
    """Looks every 10 s, on one gateway at a time. Give ``run`` to the supervisor."""

    def __init__(self, redis: RedisClient, pools: PoolEditor, edits: DocumentEdits) -> None:
        self._lock = LeaderLock(redis, keys.LOCK_POOL_DRAIN, lambda: 2 * _EVERY_S)
        self._pools = pools
        self._edits = edits

    async def run(self) -> None:
        """Check for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.check()
            except CordumError as error:
                _log.warning("draining pools not checked", reason=error.message)

    async def check(self) -> None:
        """Make pools that are drained inactive. Raises Conflict, Unavailable."""
        routing, fleet = await self._pools.view()
        now = now_us()
        done = {
            name
            for name, entry in routing.pools.items()
            if entry.get("status") == "draining" and is_drained(name, dict(entry), fleet, now)
        }
        # Only who has something to write needs the lock.
        if done and await self._lock.try_lead():
            await self._edits.edit(SYSTEM, lambda document: retired(document, done, _CHECKER), _CHECKER)
            _log.info("pools drained", pools=sorted(done))
