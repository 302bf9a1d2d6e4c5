"""Answers of the safety kernel as audit events (policy spec §14, §21)."""

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import DecodeError

from cordum._core import tally_decisions
from cordum.audit.events import AuditEvent, Severity
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse
from cordum.v1 import safety_batch_pb2

__all__ = ["SAFETY_DECISION", "decision_word", "held_decisions"]

SAFETY_DECISION: Final = "safety.decision"
_ALLOW: Final = 1
_WORDS: Final[dict[int, tuple[str, Severity]]] = {
    _ALLOW: ("allow", "INFO"),
    3: ("require_approval", "MEDIUM"),
    4: ("throttle", "MEDIUM"),
    5: ("constrain", "LOW"),
}


def decision_word(number: int) -> tuple[str, Severity]:
    """Return the word and the severity of a decision; an unknown one is a denial."""
    return _WORDS.get(number, ("deny", "HIGH"))


def held_decisions(requests: bytes, response: bytes, action: str) -> list[AuditEvent]:
    """Return an event per decision of a batch that is no plain allow; those are in the decision log alone.

    ``requests`` and ``response`` are a serialized `BatchRequest` and the `BatchResponse` to it. An answer that does not
    decode decides nothing, which whoever acts on it finds out.
    """
    try:
        *_, held = tally_decisions(requests, response, 1)
        return list(_events(requests, response, action)) if held else []
    except (ValueError, DecodeError):
        return []


def _events(requests: bytes, response: bytes, action: str) -> Iterator[AuditEvent]:
    asked = safety_batch_pb2.BatchRequest.FromString(requests)
    answered = safety_batch_pb2.BatchResponse.FromString(response)
    for request, item in zip(asked.requests, answered.items, strict=False):
        answer = PolicyCheckResponse.FromString(item.response)
        if not item.code and answer.decision != _ALLOW:
            yield _event(PolicyCheckRequest.FromString(request), answer, action)


def _event(asked: PolicyCheckRequest, answer: PolicyCheckResponse, action: str) -> AuditEvent:
    word, severity = decision_word(int(answer.decision))
    return AuditEvent(
        SAFETY_DECISION,
        severity,
        asked.tenant or asked.meta.tenant_id or "default",
        action,
        agent_id=asked.labels.get("agent_id", ""),
        job_id=asked.job_id,
        decision=word,
        matched_rule=answer.rule_id,
        reason=answer.reason,
        policy_version=answer.policy_snapshot,
        identity=asked.principal_id,
        risk_tags=tuple(asked.meta.risk_tags),
        capabilities=(asked.meta.capability,) if asked.meta.capability else (),
        extra={"topic": asked.topic},
    )
