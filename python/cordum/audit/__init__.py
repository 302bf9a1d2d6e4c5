"""Append-only, hash-chained audit events per tenant (security spec §19)."""

from cordum.audit.chain import AuditChain, ChainKeys
from cordum.audit.decisions import SAFETY_DECISION, decision_word, held_decisions
from cordum.audit.events import AuditEvent
from cordum.audit.verify import verify_chain
from cordum.audit.writer import AuditWriter

__all__ = [
    "SAFETY_DECISION",
    "AuditChain",
    "AuditEvent",
    "AuditWriter",
    "ChainKeys",
    "decision_word",
    "held_decisions",
    "verify_chain",
]
