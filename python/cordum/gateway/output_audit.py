"""Quarantined jobs as audit entries of the rules that stopped them (output policy spec §11.4)."""

from typing import Any, Final

from cordum.domain.states import JobState
from cordum.gateway.quarantine import output_record
from cordum.runtime.clock import rfc3339
from cordum.store.job_list import JobQuery, list_jobs
from cordum.store.jobs import JobStore, Record
from cordum.store.output_stats import OutputStats

__all__ = ["quarantine_entries"]

_MEMBERS: Final = ("reason", "phase", "findings", "original_ptr", "redacted_ptr")
_INDEX_MAX: Final = 2_000
_BATCH: Final = 200


async def quarantine_entries(
    jobs: JobStore, tenant: str | None, rule_id: str, limit: int
) -> list[dict[str, Any]]:
    """Return the newest quarantines, of one rule if named; ``tenant`` None: of all. Raises Unavailable."""
    if not rule_id:
        query = JobQuery(tenant=tenant, state=str(JobState.OUTPUT_QUARANTINED), limit=limit)
        records, _ = await list_jobs(jobs, query)
        return [_entry(record) for record in records[:limit]]
    found: list[dict[str, Any]] = []
    ids = await OutputStats(jobs.client).jobs_of(rule_id, _INDEX_MAX)
    for start in range(0, len(ids), _BATCH):
        for record in await jobs.get_many(ids[start : start + _BATCH]):
            if record is not None and _is_shown(record, tenant, rule_id):
                found.append(_entry(record))
            if len(found) == limit:
                return found
    return found


def _is_shown(record: Record, tenant: str | None, rule_id: str) -> bool:
    decided = str(output_record(record).get("rule_id", "")).lower() == rule_id.lower()
    is_own = tenant is None or record.get("tenant") == tenant
    return decided and is_own and record.get("state") == JobState.OUTPUT_QUARANTINED


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
