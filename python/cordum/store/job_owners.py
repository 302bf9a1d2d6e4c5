"""To whom jobs belong and who works on them, for many jobs at once."""

from collections.abc import Sequence
from typing import NamedTuple

from cordum.store.jobs import JobStore

__all__ = ["JobOwner", "job_owners"]

_FIELDS = ("tenant", "worker_id", "dispatch_subject", "state")


class JobOwner(NamedTuple):
    """Tenant of a job, and the worker it was handed to last; empty when any worker of a topic may have it."""

    tenant: str
    worker_id: str


async def job_owners(jobs: JobStore, job_ids: Sequence[str]) -> list[JobOwner | None]:
    """Return the owners in one round trip per node, None for an unknown job. Raises Unavailable."""
    owners: list[JobOwner | None] = []
    for found in await jobs.fields(job_ids, _FIELDS):
        tenant, worker_id, subject, state = (part.decode() if part is not None else "" for part in found)
        owner = JobOwner(tenant or "default", worker_id if subject.startswith("worker.") else "")
        owners.append(owner if state else None)
    return owners
