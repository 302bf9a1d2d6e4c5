"""Which repair an approval needs: the first match counts (scheduler spec §17)."""

from typing import Any

import pytest

from cordum.domain.approval_repairs import plan_repair, release, resolution_fields, stored_hash

RECORD = {
    "id": "j",
    "state": "APPROVAL_REQUIRED",
    "topic": "job.pay",
    "safety_snapshot": "v1:aa|cfg:1",
    "safety_job_hash": "h",
    "approval_status": "pending",
    "approval_revision": "1",
}
GATE = {"topic": "sys.approval.gate", "run_id": "r-1"}


def kind_of(changes: dict[str, str], **facts: Any) -> str:
    facts = {"labels": {}, "request_hash": "h", "current_snapshot": "v1:aa|cfg:2", **facts}
    over = facts.pop("is_run_over", False)
    return plan_repair({**RECORD, **changes}, *facts.values(), is_run_over=over).kind


@pytest.mark.parametrize(
    ("changes", "facts", "kind"),
    [
        ({}, {}, "none"),
        ({}, {"current_snapshot": ""}, "none"),
        ({"state": "PENDING", "approval_publish_status": "pending"}, {}, "replay_pending_publish"),
        ({"state": "PENDING", "approval_publish_status": "published"}, {}, "none"),
        ({"state": "PENDING"}, {"current_snapshot": "v2:bb"}, "none"),
        ({"approval_decision": "approve"}, {"current_snapshot": "v2:bb"}, "apply_approved_resolution"),
        ({"approval_status": "approved"}, {}, "apply_approved_resolution"),
        (
            {"approval_by": "ann"},
            {"labels": {"approval_granted": "True"}},
            "apply_approved_resolution",
        ),
        ({}, {"labels": {"approval_granted": "true"}}, "none"),
        ({"approval_decision": "reject"}, {"request_hash": "x"}, "apply_rejected_resolution"),
        ({"approval_status": "rejected"}, {}, "apply_rejected_resolution"),
        (GATE, {"is_run_over": True}, "invalidate_terminal_run"),
        ({}, {"current_snapshot": "v2:bb"}, "reevaluate_stale_snapshot"),
        (GATE, {"current_snapshot": "v2:bb"}, "none"),
        ({}, {"request_hash": "x"}, "invalidate_stale_request"),
        ({}, {"request_hash": ""}, "invalidate_stale_request"),
        ({"safety_job_hash": ""}, {"request_hash": "x"}, "none"),
    ],
)
def test_the_first_match_counts(changes: dict[str, str], facts: dict[str, Any], kind: str) -> None:
    assert kind_of(changes, **facts) == kind


def test_a_plan_tells_where_it_leads() -> None:
    rejected = plan_repair({**RECORD, **GATE, "approval_decision": "reject"}, {}, "h", "")
    assert rejected.document() == {
        "job_id": "j",
        "kind": "apply_rejected_resolution",
        "repairable": True,
        "reason": "the rejection is stored but the job still waits",
        "current_state": "APPROVAL_REQUIRED",
        "target_state": "DENIED",
        "approval_status": "rejected",
        "actionability": "resolved",
        "decision": "reject",
        "publish_target": "dlq_and_result",
        "topic": "sys.approval.gate",
        "run_id": "r-1",
        "request_hash": "h",
    }


def test_who_decided_stays_who_decided() -> None:
    record = {**RECORD, "approval_decision": "approve", "approval_by": "ann", "approval_note": "n"}
    plan = plan_repair(record, {}, "h", "")
    fields = resolution_fields(record, plan, "system/reconciler", "system", "why", 7)
    assert (fields["approval_by"], fields["approval_role"]) == ("ann", "system")
    assert (fields["approval_note"], fields["approval_revision"]) == ("n; repair: why", "2")


def test_a_job_goes_on_as_it_was_approved() -> None:
    request = b'{"jobId":"j","labels":{"a":"b"},"budget":{"deadlineMs":"5"}}'
    change = release(RECORD, request, {"approval_by": "bob"}, "v1", ("", "n"), "{}", 1_000)
    assert change["req"] == (
        b'{"jobId":"j","labels":{"a":"b","approval_granted":"true","approval_snapshot":"v1",'
        b'"cordum.bus_msg_id":"approval:j","approval_note":"n"},"budget":{"deadlineMs":"5"}}'
    )
    assert (change["to"], change["deadline"], change["events"]) == ("PENDING", 6_000, ["{}"])
    assert change["set"] == {
        "approval_by": "bob",
        "approval_policy_snapshot": "v1",
        "approval_job_hash": "h",
        "approval_publish_status": "pending",
        "approval_publish_target": "submit",
        "deadline_unix": "6000",
    }


def test_a_damaged_request_has_no_hash() -> None:
    assert len(stored_hash(b'{"jobId":"j"}')) == 64
    assert stored_hash(b"{") == stored_hash(b"") == ""
