"""Append-only, hash-chained audit events per tenant (security spec §19)."""

from cordum.audit.chain import AuditChain, ChainKeys
from cordum.audit.events import AuditEvent
from cordum.audit.verify import verify_chain
from cordum.audit.writer import AuditWriter

__all__ = ["AuditChain", "AuditEvent", "AuditWriter", "ChainKeys", "verify_chain"]
