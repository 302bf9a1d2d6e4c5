"""Stored records as the HTTP API shows them (gateway spec §13–§17)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from cordum.runtime.clock import rfc3339
from cordum.store.jobs import Record

__all__ = [
    "dead_letter",
    "decision_entry",
    "document",
    "job_detail",
    "job_record",
    "worker",
]

_PLAIN: Final = (
    "worker_id",
    "trace_id",
    "topic",
    "tenant",
    "team",
    "principal",
    "actor_id",
    "actor_type",
    "idempotency_key",
    "capability",
    "pack_id",
    "agent_id",
    "agent_name",
    "agent_risk_tier",
    "safety_decision",
    "safety_reason",
    "safety_rule_id",
    "safety_snapshot",
    "failure_reason",
)
_DETAIL: Final = ("workflow_id", "run_id", "step_id", "safety_job_hash", "approval_ref")
_APPROVAL: Final = (
    "approval_by",
    "approval_role",
    "approval_reason",
    "approval_note",
    "approval_policy_snapshot",
    "approval_job_hash",
    "approval_status",
    "approval_actionability",
    "approval_decision",
)
ONLINE_MS: Final = 30_000


def _json(text: str, default: Any) -> Any:
    if not text:
        return default
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return default


def _output(record: Record) -> dict[str, Any]:
    """Return the output record and its decision; a damaged one is none."""
    safety = _json(record.get("output_safety", ""), None)
    if not isinstance(safety, dict):
        return {}
    return {"output_decision": str(safety.get("decision", "")).upper(), "output_safety": safety}


def document(raw: bytes) -> Any:
    """Return a stored payload: the JSON value, or the text when it is not JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")


def job_record(record: Record) -> dict[str, Any]:
    """Return the list item of a job (§14.2)."""
    item: dict[str, Any] = {
        "id": record["id"],
        "state": record.get("state", ""),
        "updated_at": int(record.get("updated_at", "0")),
        "attempts": int(record.get("attempts", "0")),
    }
    item.update({name: record[name] for name in _PLAIN if record.get(name)})
    item.update({name: _json(record[name], []) for name in ("risk_tags", "requires") if record.get(name)})
    if record.get("state") == "OUTPUT_QUARANTINED":
        item |= _output(record)
    if record.get("deadline_unix"):
        item["deadline_unix"] = int(record["deadline_unix"])
    return item


def job_detail(
    record: Record,
    request: Mapping[str, Any],
    *,
    context: bytes | None,
    result: bytes | None,
    letter: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return a job in full (§14.3). ``result`` None also stands for withheld."""
    detail = job_record(record)
    tenant = record.get("tenant", "")
    detail |= {
        "job_id": record["id"],
        "tenant": tenant,
        "tenant_id": tenant,
        "topic": record.get("topic", ""),
        "labels": _json(record.get("labels", ""), {}),
        "risk_tags": detail.get("risk_tags", []),
        "requires": detail.get("requires", []),
        "result_ptr": record.get("result_ptr", ""),
        "failure_reason": record.get("failure_reason", ""),
        "approval_required": record.get("safety_approval_required") == "true",
    }
    detail.update({name: record[name] for name in (*_DETAIL, *_APPROVAL) if record.get(name)})
    if record.get("safety_approval_ref"):
        detail["approval_ref"] = record["safety_approval_ref"]
    if record.get("created_at"):
        detail["created_at"] = rfc3339(int(record["created_at"]))
    if record.get("approval_at"):
        detail["approval_at"] = int(record["approval_at"])
    if record.get("approval_revision"):
        detail["approval_revision"] = int(record["approval_revision"])
    detail |= _output(record)
    for name in ("safety_constraints", "safety_remediations"):
        if record.get(name):
            detail[name] = _json(record[name], {})
    if request.get("contextPtr"):
        detail["context_ptr"] = request["contextPtr"]
    if context is not None:
        detail["context"] = document(context)
    if result is not None:
        detail["result"] = document(result)
    if letter is not None:
        detail |= {
            "error_message": letter.get("reason", ""),
            "error_status": letter.get("status", ""),
            "error_code": letter.get("reason_code", ""),
            "last_state": letter.get("last_state", ""),
        }
    return detail


def decision_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return one policy decision (§14.6); `action` and `evaluated_at` are for typed clients."""
    shown = {name: value for name, value in entry.items() if value not in (None, "")}
    shown["action"] = entry.get("decision", "")
    if isinstance(entry.get("checked_at"), int):
        shown["evaluated_at"] = rfc3339(entry["checked_at"])
    return shown


def dead_letter(entry: Mapping[str, Any], *, with_raw: bool = False) -> dict[str, Any]:
    """Return a dead letter with the members typed clients expect (§13, §16).

    The bytes of a message that nobody could read may be of any tenant: ``with_raw`` shows them.
    """
    shown = {
        "topic": "",
        "reason": "",
        "attempts": 0,
        **entry,
    }
    if not with_raw:
        shown.pop("raw", None)
    return {
        **shown,
        "error": shown["reason"],
        "failed_at": shown.get("created_at", ""),
        "retry_count": shown["attempts"],
        "original_state": shown.get("last_state", ""),
    }


def worker(entry: Mapping[str, Any], *, captured_us: int, now_us: int) -> dict[str, Any]:
    """Return a worker of the registry snapshot (§17). Ages grow by the age of the snapshot itself."""
    elapsed_ms = max(0, now_us - captured_us) // 1_000
    age_ms = int(entry.get("age_ms", 0)) + elapsed_ms
    heartbeat = rfc3339((now_us - age_ms * 1_000) // 1_000_000 * 1_000_000)
    shown: dict[str, Any] = {
        "worker_id": entry.get("worker_id", ""),
        "active_jobs": int(entry.get("active_jobs", 0)),
        "max_parallel_jobs": int(entry.get("max_parallel_jobs", 0)),
        "capabilities": _list(entry.get("capabilities")),
        "labels": entry.get("labels") or {},
        "cpu_load": float(entry.get("cpu_load", 0.0)),
        "gpu_utilization": float(entry.get("gpu_utilization", 0.0)),
        "memory_load": float(entry.get("memory_load", 0.0)),
        "last_heartbeat_at": heartbeat,
        "last_heartbeat": heartbeat,
        "heartbeat_age_seconds": age_ms // 1_000,
        "session_state": "no_session",
        "session_valid": False,
        "online": age_ms < ONLINE_MS,
        "ready_topics": _list(entry.get("ready_topics")),
    }
    shown.update({name: entry[name] for name in ("pool", "region", "type") if entry.get(name)})
    if entry.get("ready_age_ms") is not None:
        shown["ready_age_seconds"] = (int(entry["ready_age_ms"]) + elapsed_ms) // 1_000
    return shown


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []
