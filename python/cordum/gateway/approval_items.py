"""Approvals as approvers see them: the list item and what is said in short (gateway spec §15.1).

What a request says about itself (title, amount, what would happen) is its submitter's word, taken from the masked
payload: of a workflow gate its `decision` object, of another job its `context`. `missing_fields` names what was not
said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cordum.domain.approval_repairs import GATES
from cordum.domain.states import JobState
from cordum.gateway.approval_texts import masked_input
from cordum.gateway.views import job_record
from cordum.runtime.clock import rfc3339
from cordum.store.jobs import Record

__all__ = ["PolicyInForce", "approval_item", "policy_version"]

_GATE_LABEL: Final = "workflow_approval"
_STATED: Final = ("title", "why", "next_effect")
_TEXT_CHARACTERS: Final = 200
_PREVIEWED: Final = 5
_LISTED: Final = 20
_LISTS: Final = ("systems", "namespaces", "resources")
_NAMES: Final = ("title", "name", "description", "id")


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """The policy the kernel decides with now; both empty while it does not tell."""

    snapshot: str = ""
    rule_count: int = 0


def approval_item(
    record: Record,
    request: Mapping[str, Any],
    head: tuple[bytes, int] | None,
    policy: PolicyInForce,
) -> dict[str, Any]:
    """Return the list item of an approval. ``head`` is what `BlobStore.heads` found of the payload."""
    job_input = masked_input(head)
    is_gate = record.get("topic") in GATES
    # Nobody can answer the question of a job that was cancelled meanwhile.
    is_moot = record.get("state") != JobState.APPROVAL_REQUIRED and not record.get("approval_decision")
    gate = _object(_object(job_input).get("workflow")) if is_gate else {}
    stated = _stated(job_input, is_gate=is_gate)
    item: dict[str, Any] = {
        "job": job_record(record),
        "job_id": record["id"],
        "topic": record.get("topic", ""),
        "tenant_id": record.get("tenant", ""),
        "risk_tags": _json(record.get("risk_tags", ""), []),
        "decision": "REQUIRE_APPROVAL",
        "policy_snapshot": record.get("safety_snapshot", ""),
        "policy_rule_id": record.get("safety_rule_id", ""),
        "policy_reason": record.get("safety_reason", ""),
        "reason": record.get("safety_reason", ""),
        "constraints": _json(record.get("safety_constraints", ""), {}),
        "job_hash": record.get("safety_job_hash", ""),
        "approval_required": True,
        "approval_ref": record.get("safety_approval_ref", record["id"]),
        "approval_status": "invalidated" if is_moot else record.get("approval_status", "pending"),
        "approval_actionability": (
            "invalidated" if is_moot else record.get("approval_actionability", "actionable")
        ),
        "approval_revision": int(record.get("approval_revision", "1")),
        "submitted_by": record.get("principal", ""),
        "decision_summary": _summary(record, job_input, stated, head, gate, is_gate=is_gate),
        "blast_radius": _blast_radius(_object(stated.get("blast_radius"))),
        "policy_snapshot_summary": _policy_summary(record, policy),
    }
    label = _object(_json(record.get("labels", ""), {})).get("gate_type")
    for name, value in (
        ("capability", record.get("capability")),
        ("context_ptr", request.get("contextPtr")),
        ("gate_type", label if label == _GATE_LABEL else None),
        ("workflow_id", record.get("workflow_id")),
        ("workflow_run_id", record.get("run_id")),
        ("workflow_step_id", record.get("step_id")),
        ("workflow_name", _text(gate.get("workflow_name"))),
        ("step_name", _text(gate.get("step_name"))),
        ("rollback_hint", _text(stated.get("rollback_hint"))),
    ):
        if value:
            item[name] = value
    if record.get("created_at"):
        item["created_at"] = item["requested_at"] = rfc3339(int(record["created_at"]))
    if job_input is not None:
        item["job_input"] = job_input
    return item | _resolution(record)


def policy_version(snapshot: str) -> str:
    """Return the version of the base policy in a snapshot, empty when it names none (policy spec §9)."""
    base = snapshot.partition("|")[0]
    return "" if base.startswith("cfg:") else base.rpartition(":")[0]


def _resolution(record: Record) -> dict[str, Any]:
    """Return how an approval ended, empty while it is open. Ends without a person have no one who resolved them."""
    if not record.get("approval_decision"):
        return {}
    ended = record.get("approval_at") or record.get("updated_at", "0")
    return {
        "approval_decision": record["approval_decision"],
        "resolved_by": record.get("approval_by", ""),
        "decided_by": record.get("approval_by", ""),
        "resolved_comment": record.get("approval_reason", ""),
        "resolution": record.get("approval_status", ""),
        "resolved_at": int(ended),
        "decided_at": rfc3339(int(ended)),
    }


def _policy_summary(record: Record, policy: PolicyInForce) -> dict[str, Any]:
    snapshot = record.get("safety_snapshot", "")
    constraints = _json(record.get("safety_constraints", ""), {})
    summary: dict[str, Any] = {
        "policy_version": policy_version(snapshot),
        "matched_rule": {
            "id": record.get("safety_rule_id", ""),
            "description": record.get("safety_reason", ""),
            "decision": "REQUIRE_APPROVAL",
            "constraints_summary": ", ".join(sorted(_object(constraints))),
        },
    }
    # Of another policy than the one in force nobody knows the number.
    if snapshot and snapshot == policy.snapshot:
        summary["rule_count"] = policy.rule_count
    return summary


def _stated(job_input: Any, *, is_gate: bool) -> Mapping[str, Any]:
    """Return what the request says about itself."""
    payload = _object(job_input)
    if is_gate:
        return _object(payload.get("decision"))
    return _object(payload.get("context")) or payload


def _summary(
    record: Record,
    job_input: Any,
    stated: Mapping[str, Any],
    head: tuple[bytes, int] | None,
    gate: Mapping[str, Any],
    *,
    is_gate: bool,
) -> dict[str, Any]:
    said = {name: _text(stated.get(name)) for name in _STATED}
    missing = [name for name in _STATED if not said[name]]
    items = stated.get("items")
    items = items if isinstance(items, list) else []
    summary: dict[str, Any] = {
        "source": "workflow" if is_gate else "job",
        "completeness": "full" if not missing else "partial" if len(missing) < len(_STATED) else "minimal",
        "context_status": "missing" if head is None else "withheld" if job_input is None else "available",
        "title": said["title"] or _title(record, job_input, gate, is_gate=is_gate),
        "why": said["why"] or record.get("safety_reason", ""),
        "next_effect": said["next_effect"] or _next_effect(record, gate, is_gate=is_gate),
        "item_count": len(items),
        "items_preview": [_text(_item_name(item)) for item in items[:_PREVIEWED]],
    }
    amount = stated.get("amount")
    if isinstance(amount, int | float) and not isinstance(amount, bool):
        summary["amount"] = amount
        if not _text(stated.get("currency")):
            missing.append("currency")
    for name in ("currency", "vendor"):
        if text := _text(stated.get(name)):
            summary[name] = text
    return summary | {"missing_fields": missing}


def _title(record: Record, job_input: Any, gate: Mapping[str, Any], *, is_gate: bool) -> str:
    if is_gate:
        names = (_text(gate.get("workflow_name")), _text(gate.get("step_name")))
        return ": ".join(name for name in names if name) or record.get("topic", "")
    prompt = _text(_object(job_input).get("prompt")).partition("\n")[0].strip()
    return prompt or record.get("capability") or record.get("topic", "")


def _next_effect(record: Record, gate: Mapping[str, Any], *, is_gate: bool) -> str:
    if is_gate:
        step = _text(gate.get("step_name")) or record.get("step_id", "")
        return f"the run continues after step {step}" if step else "the run continues"
    return f"a job on {record.get('topic', '')} is dispatched"


def _blast_radius(stated: Mapping[str, Any]) -> dict[str, Any]:
    radius: dict[str, Any] = {}
    for name in _LISTS:
        entries = stated.get(name)
        texts = [_text(entry) for entry in entries] if isinstance(entries, list) else []
        radius[name] = [text for text in texts if text][:_LISTED]
    return {**radius, "scope_description": _text(stated.get("scope_description"))}


def _item_name(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item if isinstance(item, str) else orjson.dumps(item).decode()
    named = (item[name] for name in _NAMES if isinstance(item.get(name), str) and item[name].strip())
    return next(named, None) or orjson.dumps(item).decode()


def _text(value: Any) -> str:
    """Return a text as it is shown in a line, empty for everything else."""
    return value.strip()[:_TEXT_CHARACTERS] if isinstance(value, str) else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(text: str, default: Any) -> Any:
    try:
        return orjson.loads(text) if text else default
    except orjson.JSONDecodeError:
        return default
