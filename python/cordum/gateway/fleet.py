"""Pools and their workers as the newest registry snapshot shows them (gateway spec §17–§19)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cordum.gateway.routing import Routing
from cordum.gateway.views import worker
from cordum.gateway.worker_sessions import add_sessions
from cordum.runtime.clock import now_us, rfc3339
from cordum.store.worker_sessions import WorkerSessions
from cordum.store.worker_snapshot import WorkerSnapshots

__all__ = ["Fleet", "captured_us_of", "known_workers"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers by pool, from one snapshot."""

    captured_us: int
    """When the snapshot was taken; 0 when there is none."""
    members: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Mapping[str, Any] | None, routing: Routing) -> "Fleet":
        """Read a snapshot; None is a fleet without workers."""
        now, captured_us = now_us(), captured_us_of(snapshot or {}, 0)
        members: dict[str, list[dict[str, Any]]] = {}
        derived: dict[tuple[str, ...], frozenset[str]] = {}
        for entry in (snapshot or {}).get("workers") or []:
            shown = worker(entry, captured_us=captured_us or now, now_us=now)
            ready = tuple(map(str, shown["ready_topics"]))
            if not shown.get("pool") and ready not in derived:
                derived[ready] = routing.pools_of_ready(ready)
            for pool in [shown["pool"]] if shown.get("pool") else derived[ready]:
                members.setdefault(pool, []).append(shown)
        for entries in members.values():
            entries.sort(key=lambda entry: str(entry["worker_id"]))
        return cls(captured_us, members)

    @property
    def captured_at(self) -> str:
        """When the snapshot was taken, RFC 3339; now when there is none."""
        return rfc3339(self.captured_us) if self.captured_us else rfc3339()

    def workers_of(self, pool: str) -> list[dict[str, Any]]:
        """Return the workers of a pool, sorted by id."""
        return self.members.get(pool, [])

    def online(self, pool: str) -> int:
        """Return the number of workers of a pool that showed a sign of life lately."""
        return sum(entry["online"] for entry in self.workers_of(pool))

    def active_jobs(self, pool: str) -> int:
        """Return the number of jobs the workers of a pool say they run."""
        return sum(max(0, entry["active_jobs"]) for entry in self.workers_of(pool))

    def load(self, pool: str) -> dict[str, Any]:
        """Return `active_jobs`, `capacity` and `utilization` of a pool."""
        active = self.active_jobs(pool)
        capacity = sum(max(0, entry["max_parallel_jobs"]) for entry in self.workers_of(pool))
        share = active / capacity if capacity else 0.0
        return {"active_jobs": active, "capacity": capacity, "utilization": round(share, 4)}


async def known_workers(snapshots: WorkerSnapshots, sessions: WorkerSessions) -> list[dict[str, Any]]:
    """Return the workers of the snapshot, sorted by id. Raises Unavailable."""
    snapshot = await snapshots.load() or {}
    now = now_us()
    captured_us = captured_us_of(snapshot, now)
    shown = [worker(entry, captured_us=captured_us, now_us=now) for entry in snapshot.get("workers") or []]
    await add_sessions(sessions, shown)
    return sorted(shown, key=lambda entry: str(entry["worker_id"]))


def captured_us_of(snapshot: Mapping[str, Any], default_us: int) -> int:
    """Return when a snapshot was taken, in µs."""
    try:
        return int(datetime.fromisoformat(snapshot["captured_at"]).timestamp() * 1_000_000)
    except (KeyError, TypeError, ValueError):
        return default_us
