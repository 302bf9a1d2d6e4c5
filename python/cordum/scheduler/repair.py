"""Repair of the tenant sets, which live in other slots than the jobs they list (scheduler spec §15.8)."""

from collections.abc import Sequence

from cordum.domain.states import ACTIVE_STATES, TERMINAL_STATES, JobState
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command

_AGE_US = 60_000_000
_WINDOW = 500
_TENANTS_PER_TICK = 200

_OPEN = frozenset(JobState) - TERMINAL_STATES


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
        removed = 0
        for tenant in (name.decode() for name in reply[1]):
            removed += await self._check(keys.tenant_active(tenant), ACTIVE_STATES)
            removed += await self._check(keys.tenant_open(tenant), _OPEN)
        return removed

    async def _check(self, key: str, belonging: frozenset[JobState]) -> int:
        offset = self._offsets.pop(key, 0)
        before = now_us() - _AGE_US
        members = await self._jobs.client.execute(
            "ZRANGEBYSCORE", key, "-inf", before, "LIMIT", offset, _WINDOW
        )
        ids = [member.decode() for member in members]
        stale = await self._stale(ids, belonging)
        if stale:
            removal: Command = ("ZREM", key, *stale)
            await self._jobs.client.execute(*removal)
        if len(ids) == _WINDOW:
            self._offsets[key] = offset + _WINDOW - len(stale)
        return len(stale)

    async def _stale(self, ids: Sequence[str], belonging: frozenset[JobState]) -> list[str]:
        if not ids:
            return []
        states = await self._jobs.fields(ids, ("state",))
        return [
            job_id
            for job_id, (state,) in zip(ids, states, strict=True)
            if state is None or state.decode() not in belonging
        ]
