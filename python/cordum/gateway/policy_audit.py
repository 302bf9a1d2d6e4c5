"""What was done to the policy and by whom, as events of the audit chain (policy spec §18.3, security spec §19).

The event of a write is stored in the same document as the write, so that neither is there without the other; then it is
appended to the chain. Should that fail, the next write, or a task of any gateway, does it: no other write replaces the
event before it is in the chain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cordum.audit import AuditChain, AuditEvent
from cordum.domain.errors import CordumError, InvalidInput, Unavailable
from cordum.runtime.logs import get_logger
from cordum.security.principal import Caller
from cordum.store.config_documents import Document
from cordum.store.policy_bundles import bundles_snapshot, parse_bundles

__all__ = ["EVENT_KEY", "Act", "PolicyAudit", "entry_of"]

EVENT_KEY: Final = "audit_event"
"""Member of the policy document that holds the event of its last write."""
POLICY_CHANGE: Final = "safety.policy_change"
_OUTBOX: Final = "policy"
_IDS_MAX: Final = 50

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes the policy, by which action, and why."""

    caller: Caller
    action: str
    message: str = ""
    skips_tests: bool = False
    """The policy is changed although its tests may fail, which its event says."""


class PolicyAudit:
    """Brings events of policy writes into the chain; ``strict``: no write while the one before is not in it."""

    def __init__(self, chain: AuditChain, *, strict: bool = True) -> None:
        self._chain = chain
        self._strict = strict
        self._chained_id = ""

    async def settle(self, document: Document) -> None:
        """Bring the event of the last write into the chain. Raises Unavailable `audit_unavailable` when strict."""
        try:
            await self._append(document.data.get(EVENT_KEY))
        except Unavailable as error:
            if self._strict:
                raise
            _log.error("audit event of the last policy change is not in the chain", reason=error.message)

    async def finish(self, event: Mapping[str, Any]) -> None:
        """Append the event of a write that is stored; what fails here is done later."""
        try:
            await self._append(event)
        except CordumError as error:
            _log.error("audit event not in the chain yet", reason=error.message, event_id=event["event_id"])

    async def _append(self, event: object) -> None:
        if not isinstance(event, Mapping) or event.get("event_id") == self._chained_id:
            return
        await self._chain.append_fields(event, outbox=_OUTBOX)
        self._chained_id = str(event["event_id"])

    def event(self, act: Act, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        """Return the event of a write that turns the bundles ``before`` into those ``after``."""
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        extra = {
            "bundle_ids": ",".join(changed[:_IDS_MAX]),
            "bundles_changed": str(len(changed)),
            "snapshot_before": _snapshot(before),
            "snapshot_after": _snapshot(after),
            "role": act.caller.role,
            "auth_source": act.caller.source,
            "message": act.message,
            "tests": "skipped" if act.skips_tests else "",
        }
        return AuditEvent(
            POLICY_CHANGE,
            "HIGH",
            act.caller.tenant,
            act.action,
            identity=act.caller.effective_principal,
            reason=act.message,
            policy_version=extra["snapshot_after"],
            extra=extra,
        ).fields()


def _snapshot(bundles: Mapping[str, Any]) -> str:
    """Return the snapshot of stored bundles; empty when one of them is none, which a write may be about to mend."""
    try:
        return bundles_snapshot(parse_bundles(bundles))
    except InvalidInput:
        return ""


def entry_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the chain as `GET /policy/audit` shows it; what is absent is left out."""
    extra = dict(event.get("extra") or {})
    bundle_ids = [name for name in extra.pop("bundle_ids", "").split(",") if name]
    entry = {
        "id": event.get("event_id"),
        "action": event.get("action"),
        "resource_type": "policy_bundle" if bundle_ids else None,
        "resource_id": bundle_ids[0] if len(bundle_ids) == 1 else None,
        "actor_id": event.get("identity"),
        "author": event.get("identity"),
        "role": extra.pop("role", None),
        "auth_source": extra.pop("auth_source", None),
        "bundle_ids": bundle_ids or None,
        "message": extra.pop("message", None),
        "snapshot_before": extra.pop("snapshot_before", None),
        "snapshot_after": extra.pop("snapshot_after", None),
        "created_at": event.get("timestamp"),
        "timestamp": event.get("timestamp"),
        "extra": extra or None,
    }
    names = (
        "agent_id",
        "agent_name",
        "agent_risk_tier",
        "reason",
        "decision",
        "matched_rule",
        "policy_version",
    )
    entry |= {name: event.get(name) for name in names}
    return {name: value for name, value in entry.items() if value}
