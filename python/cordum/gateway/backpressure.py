"""A tenant with too many jobs under way is refused more (configuration spec §4.3, scheduler spec §32)."""

from typing import Any, Final, NamedTuple

import orjson

from cordum._core import SubmitBatch
from cordum.config.effective import EffectiveConfig
from cordum.domain.errors import Unavailable
from cordum.runtime.clock import now_us
from cordum.store.connection import RedisClient
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.job_sets import admit_open_jobs

__all__ = ["Admission", "admit", "open_limit"]

_RETRY_AFTER_S: Final = 5
_NOT_READ: Final = orjson.dumps(
    {"error": "job submission unavailable", "code": "service_unavailable", "status": 503}
)


def open_limit(config: EffectiveConfig) -> int:
    """Return how many jobs a tenant may have under way, queued ones included; 0 is no limit."""
    limits, rates = config.data.get("limits"), config.data.get("rate_limits")
    running = _number(limits, "max_concurrent_jobs") or _number(rates, "concurrent_jobs")
    return running + _number(rates, "queue_size") if running else 0


class Admission(NamedTuple):
    """What came of the items of a batch."""

    configs: list[bytes]
    """What policy needs to know of the configuration of those that go on, in their order."""
    counted: list[tuple[str, str]]
    """Tenant, job id of those that count as open jobs now; who is not stored after all has to be taken back."""


async def admit(client: RedisClient, batch: SubmitBatch, configs: EffectiveConfigs) -> Admission:
    """Answer the items of a batch that may not be taken now. Raises Unavailable when open jobs cannot be counted."""
    jobs = batch.open_jobs()
    if not jobs:
        return Admission([], [])
    try:
        found = await configs.many(batch.config_scopes())
    except Unavailable:
        for index, _, _ in jobs:
            batch.answer(index, 503, _NOT_READ, "", _RETRY_AFTER_S)
        return Admission([], [])
    wanted: dict[tuple[str, int], list[str]] = {}
    for (_, tenant, job_id), config in zip(jobs, found, strict=True):
        if config.readable and (limit := open_limit(config)):
            wanted.setdefault((tenant, limit), []).append(job_id)
    refused = await _refused(client, wanted) if wanted else {}
    kept: list[bytes] = []
    counted: list[tuple[str, str]] = []
    limited = {job_id for ids in wanted.values() for job_id in ids}
    for (index, tenant, job_id), config in zip(jobs, found, strict=True):
        if not config.readable:
            batch.answer(index, 503, _NOT_READ, "", _RETRY_AFTER_S)
        elif job_id in refused:
            batch.answer(index, 429, refused[job_id], "", _RETRY_AFTER_S)
        else:
            kept.append(config.for_policy)
            if job_id in limited:
                counted.append((tenant, job_id))
    return Admission(kept, counted)


async def _refused(client: RedisClient, wanted: dict[tuple[str, int], list[str]]) -> dict[str, bytes]:
    entries = [(tenant, limit, ids) for (tenant, limit), ids in wanted.items()]
    answers = await admit_open_jobs(client, entries, now_us())
    refused: dict[str, bytes] = {}
    for (_, limit, ids), (before, admitted) in zip(entries, answers, strict=True):
        body = _body(max(before, limit), limit)
        refused.update((job_id, body) for job_id in ids if job_id not in admitted)
    return refused


def _body(active: int, limit: int) -> bytes:
    text = f"job queue full (active={active}, limit={limit})"
    return orjson.dumps({"error": text, "code": "BACKPRESSURE", "status": 429})


def _number(section: Any, name: str) -> int:
    value = section.get(name) if isinstance(section, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
