"""Locks of single jobs, for slow paths only: the hot path is fenced by its scripts (scheduler spec §21)."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s
from cordum.scheduler import metrics
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.locks import Lock, run_renewed

__all__ = ["APPROVAL_TTL_S", "under_job_lock"]

TTL_S: Final = 60.0
APPROVAL_TTL_S: Final = 10.0
_POLL_S: Final = 0.025
_POLLS: Final = 80
"""Two seconds of waiting."""

_log = structlog.get_logger("cordum.scheduler")


async def under_job_lock(
    client: RedisClient, job_id: str, work: Callable[[], Coroutine[Any, Any, None]], ttl_s: float = TTL_S
) -> bool:
    """Do ``work`` while nobody else works on a job; False: somebody does, or the lock was lost meanwhile.

    Waits up to two seconds. Work whose lock is lost is cancelled; the lock is left to its new owner.
    Raises Unavailable.
    """
    lock = Lock(client, keys.job_lock(job_id), ttl_s)
    if not await _acquired(lock):
        return False
    try:
        finished = await run_renewed(lock, work)
    except ExceptionGroup as group:
        await _release(lock)
        raise group.exceptions[0] from None
    if not finished:
        metrics.LOCK_ABANDONED.inc()
        _log.warning("a job's lock was lost, its work is abandoned", job_id=job_id)
        return False
    await _release(lock)
    return True


async def _acquired(lock: Lock) -> bool:
    started_s = monotonic_s()
    try:
        for _ in range(_POLLS):
            if await lock.acquire():
                return True
            await asyncio.sleep(_POLL_S)
        return False
    finally:
        metrics.LOCK_WAIT.observe(monotonic_s() - started_s)


async def _release(lock: Lock) -> None:
    with suppress(CordumError):  # it ends by its TTL then
        await lock.release()
