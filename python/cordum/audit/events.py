"""Audit events and their canonical form (security spec §19.1, §19.3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from cordum.runtime.clock import rfc3339
from cordum.runtime.ids import new_id

__all__ = ["EVENT_MAX_BYTES", "AuditEvent", "Severity", "canonical"]

Severity = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]

EVENT_MAX_BYTES: Final = 1 << 20
_EXTRA_MAX: Final = 64
_VALUE_MAX_BYTES: Final = 4 * 1024
_TEXT_MAX_BYTES: Final = 16 * 1024
_LIST_MAX: Final = 256
_SECRET: Final = re.compile(
    r"secret|token|password|passwd|api_?key|private_?key|credential|authorization", re.I
)
_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_TEXTS: Final = (
    *("agent_id", "agent_name", "agent_risk_tier", "job_id", "decision", "matched_rule", "reason"),
    *("policy_version", "identity"),
)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something worth remembering, before it has its place in the chain of ``tenant_id``."""

    event_type: str
    severity: Severity
    tenant_id: str
    action: str
    agent_id: str = ""
    agent_name: str = ""
    agent_risk_tier: str = ""
    job_id: str = ""
    decision: str = ""
    matched_rule: str = ""
    reason: str = ""
    policy_version: str = ""
    identity: str = ""
    risk_tags: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    event_id: str = field(default_factory=new_id)
    timestamp: str = field(default_factory=rfc3339)

    def fields(self) -> dict[str, Any]:
        """Return the members as stored, without those the chain adds. What is empty is left out, long texts are cut."""
        shown: dict[str, Any] = {
            "timestamp": self.timestamp,
            "event_type": self.event_type,
            "severity": self.severity,
            "tenant_id": self.tenant_id,
            "action": self.action,
            "event_id": self.event_id,
        }
        for name in _TEXTS:
            if text := getattr(self, name):
                shown[name] = _cut(text, _TEXT_MAX_BYTES)
        for name in ("risk_tags", "capabilities"):
            if items := getattr(self, name):
                shown[name] = [_cut(item, _VALUE_MAX_BYTES) for item in items[:_LIST_MAX]]
        if extra := _extra(self.extra):
            shown["extra"] = extra
        return shown


def _extra(extra: Mapping[str, str]) -> dict[str, str]:
    """Keep at most 64 entries whose names are plain words and do not look like secrets."""
    kept = {
        name: _cut(value, _VALUE_MAX_BYTES)
        for name, value in extra.items()
        if value and _NAME.fullmatch(name) and not _SECRET.search(name)
    }
    return dict(list(kept.items())[:_EXTRA_MAX])


def _cut(text: str, limit: int) -> str:
    """Return valid UTF-8 text of at most ``limit`` bytes; a lone surrogate becomes `?`."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Return the RFC 8785 form of an event.

    Events hold texts, whole numbers, lists and objects of those, and their member names are ASCII: for such
    documents sorted compact JSON in UTF-8 is the canonical form.
    """
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
