"""Decisions of policy and of people as audit events (policy spec §17.2, §21)."""

from typing import Literal

from cordum.audit import SAFETY_DECISION, AuditEvent, decision_word
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse
from cordum.security.principal import Caller

__all__ = ["approval_event", "decision_event"]


def decision_event(
    action: str, caller: Caller, asked: PolicyCheckRequest, answer: PolicyCheckResponse
) -> AuditEvent:
    """Return the event of one question; an unknown decision is a denial."""
    word, severity = decision_word(int(answer.decision))
    return AuditEvent(
        SAFETY_DECISION,
        severity,
        asked.tenant,
        action,
        agent_id=asked.labels.get("agent_id", ""),
        job_id=asked.job_id,
        decision=word,
        matched_rule=answer.rule_id,
        reason=answer.reason,
        policy_version=answer.policy_snapshot,
        identity=caller.effective_principal,
        risk_tags=tuple(asked.meta.risk_tags),
        capabilities=(asked.meta.capability,) if asked.meta.capability else (),
        extra={"topic": asked.topic, "role": caller.role, "principal_id": asked.principal_id},
    )


def approval_event(
    word: Literal["approve", "reject", "repair"], caller: Caller, job_id: str, reason: str
) -> AuditEvent:
    """Return the event of a human's answer to a held job."""
    return AuditEvent(
        "safety.approval",
        "MEDIUM",
        caller.tenant,
        f"approval.{word}",
        job_id=job_id,
        decision=word,
        reason=reason,
        identity=caller.effective_principal,
        extra={"role": caller.role, "auth_source": caller.source},
    )
