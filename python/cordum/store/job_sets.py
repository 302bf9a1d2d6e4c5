"""Commands for the sets that list jobs but live in other slots: tenants, traces, workers, idempotency
(scheduler spec §3.2).

The builders return plain commands so that callers can add them to a pipeline they send anyway.
"""

from collections.abc import Iterable, Mapping, Sequence

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command, script

__all__ = [
    "admit_open_jobs",
    "claim_idempotency",
    "recent_commands",
    "release_commands",
    "reserve_command",
    "reserve_tenant_slots",
    "tenant_commands",
    "trace_commands",
    "worker_job_commands",
]

_TRACE_TTL_S = 7 * 86_400
_WORKER_JOBS_TTL_S = 7 * 86_400
_WORKER_JOBS_MAX = 1000


def tenant_commands(changes: Iterable[tuple[str, str, int, bool, bool]]) -> list[Command]:
    """Return the updates of `job:tenant:{open,active}` for (tenant, job_id, now_us, is_open, is_active) changes.

    One ZADD or ZREM per tenant and set; the last change of a job wins. The tenants are listed first, so that the
    repair of these sets knows all of them.
    """
    tenants: dict[str, dict[str, tuple[int, bool, bool]]] = {}
    for tenant, job_id, now_us, is_open, is_active in changes:
        tenants.setdefault(tenant, {})[job_id] = (now_us, is_open, is_active)
    commands: list[Command] = [("SADD", keys.TENANTS, *sorted(tenants))] if tenants else []
    for tenant, jobs in tenants.items():
        opened, closed, started, ended = _memberships(jobs)
        # NX: a job that is open already keeps its place, and the set is not sorted anew at every change.
        _add_membership(commands, keys.tenant_open(tenant), opened, closed, "NX")
        _add_membership(commands, keys.tenant_active(tenant), started, ended)
    return commands


def _memberships(
    jobs: Mapping[str, tuple[int, bool, bool]],
) -> tuple[list[int | str], list[str], list[int | str], list[str]]:
    """Return scores and ids of the open jobs, ids of the others, and both for the active ones."""
    opened: list[int | str] = []
    closed: list[str] = []
    started: list[int | str] = []
    ended: list[str] = []
    for job_id, (now_us, is_open, is_active) in jobs.items():
        if is_open:
            opened += (now_us, job_id)
        else:
            closed.append(job_id)
        if is_active:
            started += (now_us, job_id)
        else:
            ended.append(job_id)
    return opened, closed, started, ended


def recent_commands(changes: Iterable[tuple[str, str, int]], *, recent_max: int) -> list[Command]:
    """Return the updates of `job:tenant:recent` for (tenant, job_id, updated_at) of changed records.

    The score is the record's `updated_at`, because lists are paged by it; one that comes late changes nothing.
    """
    tenants: dict[str, dict[str, int]] = {}
    for tenant, job_id, updated_us in changes:
        jobs = tenants.setdefault(tenant, {})
        if updated_us > jobs.get(job_id, 0):
            jobs[job_id] = updated_us
    commands: list[Command] = []
    for tenant, jobs in tenants.items():
        key = keys.tenant_recent(tenant)
        members = [part for job_id, updated_us in jobs.items() for part in (updated_us, job_id)]
        commands += (("ZADD", key, "GT", *members), ("ZREMRANGEBYRANK", key, 0, -(recent_max + 1)))
    return commands


def _add_membership(
    commands: list[Command], key: str, added: Sequence[int | str], removed: Sequence[str], *options: str
) -> None:
    if added:
        commands.append(("ZADD", key, *options, *added))
    if removed:
        commands.append(("ZREM", key, *removed))


def trace_commands(members: Iterable[tuple[str, str]]) -> list[Command]:
    """Return the updates of `trace:<id>` sets for (trace_id, job_id) pairs; the TTL of 7 days starts anew.

    The job a trace is named after needs no set: most traces have no other.
    """
    traces: dict[str, list[str]] = {}
    for trace_id, job_id in members:
        if trace_id not in ("", job_id):
            traces.setdefault(trace_id, []).append(job_id)
    commands: list[Command] = []
    for trace_id, ids in traces.items():
        key = keys.trace(trace_id)
        commands += (("SADD", key, *ids), ("EXPIRE", key, _TRACE_TTL_S))
    return commands


def worker_job_commands(dispatches: Iterable[tuple[str, str, int]], *, trim: bool = True) -> list[Command]:
    """Return the updates of `worker:jobs:<id>` for (worker_id, job_id, now_us): the newest 1000, kept 7 days.

    ``trim`` also bounds the set and starts its TTL anew; a caller with many batches asks for it now and then.
    """
    workers: dict[str, list[int | str]] = {}
    for worker_id, job_id, now_us in dispatches:
        if worker_id:
            workers.setdefault(worker_id, []).extend((now_us, job_id))
    commands: list[Command] = []
    for worker_id, pairs in workers.items():
        key = keys.worker_jobs(worker_id)
        commands.append(("ZADD", key, *pairs))
        if trim:
            commands += (
                ("ZREMRANGEBYRANK", key, 0, -(_WORKER_JOBS_MAX + 1)),
                ("EXPIRE", key, _WORKER_JOBS_TTL_S),
            )
    return commands


def reserve_command(tenant: str, limit: int, job_ids: Sequence[str], now_us: int) -> Command:
    """Return the call that reserves slots under a tenant's limit (negative: none); it answers the granted
    ids."""
    return script("tenant_reserve").command((keys.tenant_active(tenant),), (now_us, limit, *job_ids))


async def reserve_tenant_slots(
    client: RedisClient, wanted: Sequence[tuple[str, int, Sequence[str]]], now_us: int
) -> set[str]:
    """Reserve slots for (tenant, limit, job ids), in one round trip; return the granted ids.

    Ids that already hold a slot are granted. Of a tenant named twice the earlier entry is served first. Raises
    Unavailable.
    """
    # Listed with the slots, so that the repair finds those of a crash.
    listed: Command = ("SADD", keys.TENANTS, *sorted({tenant for tenant, _, _ in wanted}))
    replies = await client.pipeline(
        [listed, *(reserve_command(tenant, limit, job_ids, now_us) for tenant, limit, job_ids in wanted)]
    )
    granted: set[str] = set()
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    for reply in replies[1:]:
        granted.update(job_id.decode() for job_id in reply)
    return granted


async def admit_open_jobs(
    client: RedisClient, wanted: Sequence[tuple[str, int, Sequence[str]]], now_us: int
) -> list[tuple[int, set[str]]]:
    """Count jobs among the open ones of their tenant, for (tenant, limit, job ids), in one round trip.

    Return per entry how many were open before, and the admitted ids; those are in `job:tenant:open` now. Raises
    Unavailable.
    """
    admit = script("tenant_admit")
    replies = await client.pipeline(
        [
            admit.command((keys.tenant_open(tenant),), (now_us, limit, *job_ids))
            for tenant, limit, job_ids in wanted
        ]
    )
    answers: list[tuple[int, set[str]]] = []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        answers.append((int(reply[0]), {job_id.decode() for job_id in reply[1:]}))
    return answers


def release_commands(slots: Iterable[tuple[str, str, int]]) -> list[Command]:
    """Return the calls that give back the slots of (tenant, job_id, time), unless they were taken anew since."""
    tenants: dict[str, list[int | str]] = {}
    for tenant, job_id, at_us in slots:
        tenants.setdefault(tenant, []).extend((at_us, job_id))
    release = script("tenant_release")
    return [release.command((keys.tenant_active(tenant),), pairs) for tenant, pairs in tenants.items()]


async def claim_idempotency(client: RedisClient, tenant: str, key: str, job_id: str, ttl_s: int) -> str:
    """Bind a caller's key to a job id, or return the id it is bound to (scheduler spec §3.6). Raises
    Unavailable."""
    command = script("idem_claim").command((keys.idempotency(tenant, key),), (job_id, ttl_s))
    return (await client.execute(*command)).decode()
