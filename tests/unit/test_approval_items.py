"""What approvers are shown of a request, and what is said to be missing (gateway spec §15.1)."""

from typing import Any

import orjson
import pytest

from cordum.gateway.approval_items import PolicyInForce, approval_item, policy_version

GATE = "job.cordum.approval-gate"
RECORD = {
    "id": "j1",
    "state": "APPROVAL_REQUIRED",
    "topic": "job.pay",
    "capability": "payment.send",
    "safety_reason": "above the limit",
    "safety_snapshot": "v12:ab34|cfg:ff",
    "approval_status": "pending",
    "created_at": "1772358600123456",
}
LISTS: dict[str, Any] = {"systems": [], "namespaces": [], "resources": [], "scope_description": ""}


def item(
    payload: Any, policy: PolicyInForce | None = None, *, size: int | None = None, **changes: str
) -> dict[str, Any]:
    """Return the item of a record with this payload; None: it has none."""
    raw = b"" if payload is None else orjson.dumps(payload)
    head = None if payload is None else (raw, len(raw) if size is None else size)
    return approval_item({**RECORD, **changes}, {}, head, policy or PolicyInForce())


def gate(decision: Any) -> dict[str, Any]:
    return {
        "kind": "workflow_approval_context",
        "workflow": {"workflow_id": "wf-pay", "workflow_name": "Pay vendor", "step_name": "Manager gate"},
        "decision": decision,
    }


def test_a_gate_that_says_everything_is_full() -> None:
    said = {
        **{"title": "Pay Initech", "why": "limit", "next_effect": "payment is sent", "vendor": "Initech"},
        **{"amount": 12_000, "currency": "EUR", "items": [{"id": "7"}], "rollback_hint": "refund within 24h"},
        "blast_radius": {"systems": ["bank"], "resources": ["acct-9", 9], "scope_description": "1 account"},
    }
    labels = orjson.dumps({"gate_type": "workflow_approval"}).decode()
    shown = item(gate(said), topic=GATE, labels=labels, workflow_id="wf-pay", run_id="r-1", step_id="gate")
    assert shown["decision_summary"] == {
        **{"source": "workflow", "completeness": "full", "context_status": "available"},
        **{"title": "Pay Initech", "why": "limit", "next_effect": "payment is sent", "vendor": "Initech"},
        **{
            "amount": 12_000,
            "currency": "EUR",
            "item_count": 1,
            "items_preview": ["7"],
            "missing_fields": [],
        },
    }
    assert shown["blast_radius"] == {
        **{"systems": ["bank"], "namespaces": [], "resources": ["acct-9"], "scope_description": "1 account"}
    }
    assert (shown["workflow_name"], shown["step_name"]) == ("Pay vendor", "Manager gate")
    assert (shown["workflow_step_id"], shown["workflow_run_id"]) == ("gate", "r-1")
    assert (shown["gate_type"], shown["rollback_hint"]) == ("workflow_approval", "refund within 24h")


def test_what_a_gate_does_not_say_is_named_and_filled_in() -> None:
    summary = item(gate({"amount": 310}), topic=GATE, step_id="gate")["decision_summary"]
    assert summary["missing_fields"] == ["title", "why", "next_effect", "currency"]
    assert (summary["completeness"], summary["title"]) == ("minimal", "Pay vendor: Manager gate")
    assert (summary["why"], summary["amount"]) == ("above the limit", 310)
    assert summary["next_effect"] == "the run continues after step Manager gate"


@pytest.mark.parametrize(
    ("payload", "size", "status", "title"),
    [
        (None, None, "missing", "payment.send"),
        ({"prompt": "pay\nnow", "context": {}}, None, "available", "pay"),
        ({"prompt": "pay"}, 1 << 20, "withheld", "payment.send"),
        ([1, 2], None, "available", "payment.send"),
    ],
)
def test_a_payload_that_is_not_there_is_told(payload: Any, size: int | None, status: str, title: str) -> None:
    shown = item(payload, size=size)
    summary = shown["decision_summary"]
    assert (summary["context_status"], summary["title"], summary["source"]) == (status, title, "job")
    assert (summary["item_count"], summary["items_preview"]) == (0, [])
    assert (shown["blast_radius"], "amount" in summary, "gate_type" in shown) == (LISTS, False, False)


@pytest.mark.parametrize(
    "said",
    [
        {"title": 7, "amount": True, "items": "x", "blast_radius": [], "currency": {}},
        {"amount": "12", "items": {"a": 1}, "blast_radius": {"systems": "bank", "scope_description": 4}},
        {"decision": {"title": "x"}, "workflow": {"step_name": "y"}},
    ],
)
def test_members_of_another_type_say_nothing(said: dict[str, Any]) -> None:
    shown = item({"prompt": "p", "context": said}, labels='{"gate_type":"other"}')
    assert shown["decision_summary"]["missing_fields"] == ["title", "why", "next_effect"]
    assert shown["blast_radius"] == LISTS
    assert "amount" not in shown["decision_summary"]
    assert {"gate_type", "step_name", "workflow_name"}.isdisjoint(shown)


def test_lists_and_texts_of_a_summary_are_bounded_and_masked() -> None:
    key = "AKIAQ3EGRT7MPLW5ZKJB"
    said = {"title": "x" * 1_000, "why": f"with {key}", "items": [f"row {n}" for n in range(50)]}
    said["blast_radius"] = {"systems": [f"s{n}" for n in range(500)]}
    shown = item({"prompt": "p", "context": said})
    summary = shown["decision_summary"]
    assert (len(summary["title"]), summary["why"]) == (200, "with [REDACTED]")
    assert (summary["item_count"], len(summary["items_preview"])) == (50, 5)
    assert len(shown["blast_radius"]["systems"]) == 20


def test_the_number_of_rules_is_told_only_of_the_policy_in_force() -> None:
    in_force = PolicyInForce("v12:ab34|cfg:ff", 14)
    assert item(None, in_force)["policy_snapshot_summary"]["rule_count"] == 14
    assert "rule_count" not in item(None, in_force, safety_snapshot="v11:00")["policy_snapshot_summary"]
    assert "rule_count" not in item(None, safety_snapshot="")["policy_snapshot_summary"]


@pytest.mark.parametrize(
    ("snapshot", "version"),
    [
        ("v12:ab|cfg:ff", "v12"),
        ("2025:4:ab", "2025:4"),
        ("ab", ""),
        ("cfg:ff", ""),
        ("ab|cfg:ff", ""),
        ("", ""),
    ],
)
def test_the_version_is_that_of_the_base(snapshot: str, version: str) -> None:
    assert policy_version(snapshot) == version


def test_an_approval_that_ended_without_a_person_says_how() -> None:
    shown = item(
        None,
        approval_status="invalidated",
        approval_decision="invalidate",
        updated_at="1772358700000000",
    )
    assert (shown["approval_decision"], shown["resolution"]) == ("invalidate", "invalidated")
    assert (shown["resolved_at"], shown["resolved_by"]) == (1772358700000000, "")
    assert "resolution" not in item(None)


def test_the_question_of_a_cancelled_job_does_not_stand_any_more() -> None:
    def stands(**changes: str) -> tuple[str, str]:
        shown = item(None, **changes)
        return shown["approval_status"], shown["approval_actionability"]

    assert stands() == ("pending", "actionable")
    assert stands(state="CANCELLED") == ("invalidated", "invalidated")
    answered = {"approval_status": "approved", "approval_actionability": "resolved"}
    assert stands(state="CANCELLED", approval_decision="approve", **answered) == ("approved", "resolved")
