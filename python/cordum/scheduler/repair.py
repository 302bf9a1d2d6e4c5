"""Repair of the tenant sets, which live in other slots than the jobs they list (scheduler spec §15 row 8)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from cordum.domain.states import ACTIVE_STATES, TERMINAL_STATES, JobState
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command

__all__ = ["TenantRepair"]

_AGE_US: Final = 60_000_000
_WINDOW: Final = 200
_TENANTS_PER_TICK: Final = 200
_OPEN: Final = frozenset(JobState) - TERMINAL_STATES

Belongs = Callable[[bytes | None, bytes | None], bool]
"""Tells by a job's state and its dead letter whether a set lists it rightly."""

# Key of the set, units of its scores per µs, what belongs.
_SETS: Final[tuple[tuple[Callable[[str], str], int, Belongs], ...]] = (
    (keys.tenant_active, 1, lambda state, _: state is not None and state.decode() in ACTIVE_STATES),
    (keys.tenant_open, 1, lambda state, _: state is not None and state.decode() in _OPEN),
    (keys.tenant_recent, 1, lambda state, _: state is not None),
    (keys.dlq_tenant, 1_000_000, lambda _, letter: letter is not None),
)


class TenantRepair:
    """Removes members older than a minute that no longer belong, a window per set and tick."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._cursor = 0
        self._offsets: dict[str, int] = {}

    async def sweep(self) -> int:
        """Check the next tenants; return how many members were removed. Raises Unavailable."""
        reply = await self._jobs.client.execute(
            "SSCAN", keys.TENANTS, self._cursor, "COUNT", _TENANTS_PER_TICK
        )
        self._cursor = int(reply[0])
        tenants = [name.decode() for name in reply[1]]
        sets = [(key(tenant), unit, belongs) for tenant in tenants for key, unit, belongs in _SETS]
        return await self._check(sets) if sets else 0

    async def _check(self, sets: Sequence[tuple[str, int, Belongs]]) -> int:
        """Check the next window of several sets, in three round trips."""
        before = now_us() - _AGE_US
        offsets = [self._offsets.pop(key, 0) for key, _, _ in sets]
        windows = await self._all(
            [
                ("ZRANGEBYSCORE", key, "-inf", before // unit, "LIMIT", offset, _WINDOW)
                for (key, unit, _), offset in zip(sets, offsets, strict=True)
            ]
        )
        listed = sorted({job_id.decode() for window in windows for job_id in window})
        states = await self._facts(listed)
        removals: list[Command] = []
        removed = 0
        for (key, _, belongs), offset, window in zip(sets, offsets, windows, strict=True):
            stale = [job_id for job_id in window if not belongs(*states[job_id.decode()])]
            if stale:
                removals.append(("ZREM", key, *stale))
                removed += len(stale)
            if len(window) == _WINDOW:
                self._offsets[key] = offset + _WINDOW - len(stale)
        await self._all(removals)
        return removed

    async def _facts(self, job_ids: Sequence[str]) -> dict[str, tuple[bytes | None, bytes | None]]:
        """Return state and existence of a dead letter per job."""
        commands: list[Command] = []
        for job_id in job_ids:
            tag = self._jobs.tag(job_id)
            commands.append(("HGET", keys.job_meta(tag, job_id), "state"))
            commands.append(("EXISTS", keys.dlq_entry(tag, job_id)))
        replies = await self._all(commands)
        return {
            job_id: (replies[2 * n], b"1" if replies[2 * n + 1] else None) for n, job_id in enumerate(job_ids)
        }

    async def _all(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._jobs.client.pipeline(commands) if commands else []
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies
