"""Approvals whose parts disagree: what is wrong, and what would put it right (scheduler spec §17). No I/O."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from cordum._core import request_from_json, request_hash

__all__ = [
    "AUTOMATIC",
    "GATES",
    "RepairPlan",
    "denial_of",
    "plan_repair",
    "release",
    "resolution_fields",
    "snapshot_base",
    "stored_hash",
]

GATES: Final = frozenset({"sys.approval.gate", "job.cordum.approval-gate"})
WAITING: Final = "APPROVAL_REQUIRED"
AUTOMATIC: Final = frozenset(
    {
        "apply_approved_resolution",
        "apply_rejected_resolution",
        "reevaluate_stale_snapshot",
        "invalidate_stale_request",
    }
)
"""Kinds the reconciler applies by itself."""


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """One repair; ``kind`` `none` repairs nothing."""

    job_id: str
    kind: str
    repairable: bool
    reason: str
    current_state: str
    target_state: str
    approval_status: str
    actionability: str
    decision: str
    publish_target: str
    topic: str
    run_id: str
    request_hash: str

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def plan_repair(
    record: Mapping[str, str],
    labels: Mapping[str, str],
    request_hash: str,
    current_snapshot: str,
    *,
    is_run_over: bool = False,
) -> RepairPlan:
    """Classify one record; the first match counts.

    ``labels`` and ``request_hash`` are those of the stored request (no hash: it is gone or damaged),
    ``current_snapshot`` is the kernel's (empty: unknown), ``is_run_over``: the workflow run that asks has ended.
    """
    is_gate = record.get("topic", "") in GATES
    kind, reason = _classify(record, labels, request_hash, current_snapshot, is_run_over=is_run_over)
    state = record.get("state", "")
    target, status, decision, publish = {
        "replay_pending_publish": (
            state,
            record.get("approval_status", ""),
            record.get("approval_decision", ""),
            record.get("approval_publish_target", "") or "submit",
        ),
        "apply_approved_resolution": ("PENDING", "approved", "approve", "submit"),
        "apply_rejected_resolution": ("DENIED", "rejected", "reject", "dlq_and_result" if is_gate else "dlq"),
        "invalidate_terminal_run": ("DENIED", "invalidated", "invalidate", "dlq"),
        "reevaluate_stale_snapshot": (state, "pending", "", ""),
        "invalidate_stale_request": ("DENIED", "invalidated", "invalidate", "dlq"),
    }.get(kind, (state, record.get("approval_status", ""), record.get("approval_decision", ""), ""))
    actionability = {"approved": "resolved", "rejected": "resolved", "pending": "actionable"}.get(
        status, status
    )
    return RepairPlan(
        job_id=record.get("id", ""),
        kind=kind,
        repairable=kind != "none",
        reason=reason,
        current_state=state,
        target_state=target,
        approval_status=status,
        actionability=actionability,
        decision=decision,
        publish_target=publish,
        topic=record.get("topic", ""),
        run_id=record.get("run_id", ""),
        request_hash=request_hash,
    )


def _classify(
    record: Mapping[str, str],
    labels: Mapping[str, str],
    request_hash: str,
    current_snapshot: str,
    *,
    is_run_over: bool,
) -> tuple[str, str]:
    decision, status = record.get("approval_decision", ""), record.get("approval_status", "")
    if record.get("state") != WAITING:
        if record.get("approval_publish_status") == "pending":
            return "replay_pending_publish", "the decision is stored but was not published"
        return "none", "nothing to repair"
    # A label alone proves nothing: whoever submits on the bus writes labels, too.
    is_stamped = bool(record.get("approval_by")) and labels.get("approval_granted", "").lower() == "true"
    if decision == "approve" or status == "approved" or (is_stamped and decision != "reject"):
        return "apply_approved_resolution", "the approval is stored but the job still waits"
    if decision == "reject" or status == "rejected":
        return "apply_rejected_resolution", "the rejection is stored but the job still waits"
    if is_run_over:
        return "invalidate_terminal_run", "the workflow run is over"
    stored = record.get("safety_snapshot", "")
    is_known = bool(stored and current_snapshot) and record.get("topic", "") not in GATES
    if is_known and snapshot_base(stored) != snapshot_base(current_snapshot):
        return "reevaluate_stale_snapshot", "the policy changed since the job was held"
    if record.get("safety_job_hash", "") not in {"", request_hash}:
        return "invalidate_stale_request", "the request changed since it was held"
    return "none", "nothing to repair"


def snapshot_base(snapshot: str) -> str:
    """Return the part of a policy snapshot that names its rules."""
    return snapshot.partition("|")[0]


def resolution_fields(
    record: Mapping[str, str], plan: RepairPlan, actor: str, role: str, note: str, now_us: int
) -> dict[str, str]:
    """Return the approval fields a repair writes; who decided stays who decided."""
    notes = [record.get("approval_note", ""), f"repair: {note}"]
    return {
        "approval_status": plan.approval_status,
        "approval_actionability": plan.actionability,
        "approval_decision": plan.decision,
        "approval_by": record.get("approval_by") or actor,
        "approval_role": record.get("approval_role") or role,
        "approval_at": record.get("approval_at") or str(now_us),
        "approval_note": "; ".join(text for text in notes if text),
        "approval_revision": str(int(record.get("approval_revision", "1")) + 1),
    }


def stored_hash(request: bytes) -> str:
    """Return the hash of a stored request (protocol spec §19); empty for one that is damaged."""
    try:
        return request_hash(request_from_json(request))
    except ValueError:
        return ""


def denial_of(record: Mapping[str, str], plan: RepairPlan) -> tuple[str, str]:
    """Return code and reason of the end a repair gives a job."""
    if plan.kind == "apply_rejected_resolution":
        return "approval_rejected", record.get("approval_reason") or "approval rejected"
    return "safety_denied", f"safety: denied: {plan.reason}"


def release(
    record: Mapping[str, str],
    request: bytes,
    fields: Mapping[str, str],
    snapshot: str,
    texts: tuple[str, str],
    event: str,
    now_us: int,
) -> dict[str, Any]:
    """Return the change that lets a job go on that was approved under ``snapshot``; its `req` is still to be published.

    ``fields`` hold the resolution, ``texts`` are the approver's reason and note.
    """
    change: dict[str, Any] = {
        "to": "PENDING",
        "set": {
            **fields,
            "approval_policy_snapshot": snapshot,
            "approval_job_hash": record.get("safety_job_hash", ""),
            "approval_publish_status": "pending",
            "approval_publish_target": "submit",
        },
        "req": _stamped(request, record["id"], snapshot, *texts),
        "events": [event],
    }
    if deadline := _deadline_of(request, now_us):
        change["deadline"] = deadline
        change["set"]["deadline_unix"] = str(deadline)
    return change


def _stamped(request: bytes, job_id: str, snapshot: str, reason: str, note: str) -> bytes:
    """Return a stored request with the labels of an approval under ``snapshot``; its hash stays (protocol spec §19)."""
    document = orjson.loads(request)
    texts = {f"approval_{key}": text for key, text in (("reason", reason), ("note", note)) if text}
    document["labels"] = {
        **(document.get("labels") or {}),
        "approval_granted": "true",
        "approval_snapshot": snapshot,
        "cordum.bus_msg_id": f"approval:{job_id}",
        **texts,
    }
    return orjson.dumps(document)


def _deadline_of(request: bytes, now_us: int) -> int:
    """Return when a request's job has to be done that starts ``now_us``; 0: it has all the time."""
    deadline_ms = int((orjson.loads(request).get("budget") or {}).get("deadlineMs", 0))
    return now_us + deadline_ms * 1_000 if deadline_ms > 0 else 0
