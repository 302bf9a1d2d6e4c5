"""Events about the trust in workers, which several processes may notice (scheduler spec §20)."""

from collections.abc import Mapping
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from cordum.audit.events import AuditEvent, Severity
from cordum.runtime.ids import new_id

__all__ = ["heartbeat_disagreement", "trust_change"]

_SEVERITIES: Final[Mapping[str, Severity]] = {
    "session_revoked": "HIGH",
    "heartbeat_mode_transition": "HIGH",
    "session_expired": "MEDIUM",
    "trust_store_unready": "MEDIUM",
    "issued": "INFO",
    "renewed": "INFO",
}


def trust_change(
    change: str,
    worker_id: str,
    tenant: str,
    *,
    jti: str = "",
    agent_id: str = "",
    identity: str,
    extra: Mapping[str, str] | None = None,
) -> AuditEvent:
    """Return `worker_trust_change`. A change of one session has one id, whoever notices it, so it is kept once."""
    return AuditEvent(
        "worker_trust_change",
        _SEVERITIES[change],
        tenant,
        change,
        agent_id=agent_id,
        identity=identity,
        reason=f"{change.replace('_', ' ')}: worker {worker_id}",
        extra={"worker_id": worker_id, "jti": jti, **(extra or {})},
        event_id=str(uuid5(NAMESPACE_OID, f"{change}:{worker_id}:{jti}")) if jti else new_id(),
    )


def heartbeat_disagreement(
    worker_id: str, tenant: str, direction: str, *, jti: str, hour: int, identity: str
) -> AuditEvent:
    """Return `heartbeat_disagreement`, of one id per session and ``hour`` (since 1970), whichever replicas notice."""
    return AuditEvent(
        "heartbeat_disagreement",
        "MEDIUM",
        tenant,
        direction,
        identity=identity,
        reason=f"{direction.replace('_', ' ')}: worker {worker_id}",
        extra={"worker_id": worker_id, "direction": direction, "jti": jti},
        event_id=str(uuid5(NAMESPACE_OID, f"{direction}:{worker_id}:{jti}:{hour}")),
    )
