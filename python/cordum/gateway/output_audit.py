"""Quarantined jobs as audit entries of the rules that stopped them (output policy spec §11.4)."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from cordum.domain.states import JobState
from cordum.gateway.quarantine import output_record
from cordum.runtime.clock import rfc3339
from cordum.store.job_list import JobQuery, list_jobs
from cordum.store.jobs import JobStore, Record
from cordum.store.output_stats import OutputStats

__all__ = ["quarantine_entries"]

_MEMBERS: Final = ("reason", "phase", "findings", "original_ptr", "redacted_ptr")
_SEARCHED_MAX: Final = 10_000
_BATCH: Final = 200

Accepts = Callable[[Mapping[str, Any]], bool]


async def quarantine_entries(
    jobs: JobStore, tenant: str | None, rule_id: str, accepts: Accepts, *, offset: int, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return a page of the quarantines, newest first, and how many there are among the newest 10 000; ``tenant`` None:
    of all tenants; ``rule_id`` empty: of all rules. Raises Unavailable."""
    items: list[dict[str, Any]] = []
    total = 0
    async for records in _of_rule(jobs, rule_id) if rule_id else _all(jobs):
        for record in records:
            if record is None or not _is_shown(record, tenant, rule_id):
                continue
            entry = _entry(record)
            if not accepts(entry):
                continue
            total += 1
            if offset < total <= offset + limit:
                items.append(entry)
    return items, total


async def _of_rule(jobs: JobStore, rule_id: str) -> AsyncIterator[Sequence[Record | None]]:
    ids = await OutputStats(jobs.client).jobs_of(rule_id, _SEARCHED_MAX)
    for start in range(0, len(ids), _BATCH):
        yield await jobs.get_many(ids[start : start + _BATCH])


async def _all(jobs: JobStore) -> AsyncIterator[Sequence[Record | None]]:
    """Walk the index of the state: quarantines are rarer than the jobs of a tenant."""
    cursor: int | None = None
    seen = 0
    while seen < _SEARCHED_MAX:
        query = JobQuery(state=str(JobState.OUTPUT_QUARANTINED), limit=_BATCH, cursor=cursor)
        records, cursor = await list_jobs(jobs, query)
        seen += len(records)
        yield records
        if cursor is None:
            return


def _is_shown(record: Record, tenant: str | None, rule_id: str) -> bool:
    if tenant is not None and record.get("tenant") != tenant:
        return False
    is_asked = not rule_id or str(output_record(record).get("rule_id", "")).lower() == rule_id.lower()
    return is_asked and record.get("state") == JobState.OUTPUT_QUARANTINED


def _entry(record: Record) -> dict[str, Any]:
    safety = output_record(record)
    rule, at_us = str(safety.get("rule_id", "")), int(safety.get("checked_at", 0))
    return {
        "id": f"output:{record['id']}:{at_us}",
        "action": "output_quarantine",
        "resource_type": "output",
        "resource_id": rule,
        "resource_name": record["id"],
        "job_id": record["id"],
        "rule_id": rule,
        "decision": str(safety.get("decision", "QUARANTINE")).lower(),
        "created_at": rfc3339(at_us)[:19] + "Z",
        **{name: safety[name] for name in _MEMBERS if name in safety},
    }
