"""What the audit trail hears about worker sessions (protocol spec §14.7, scheduler spec §20)."""

from typing import Final

import structlog

from cordum.audit import AuditEvent, AuditWriter
from cordum.audit.worker_trust import heartbeat_disagreement, trust_change

__all__ = ["TrustTrail"]

_IDENTITY: Final = "cordum-scheduler"

_log = structlog.get_logger("cordum.scheduler")


class TrustTrail:
    """Writes events in the background."""

    def __init__(self, writer: AuditWriter) -> None:
        self._writer = writer

    async def change(
        self, change: str, worker_id: str, tenant: str, jti: str = "", agent_id: str = ""
    ) -> None:
        """Note that the trust in a worker changed; `*` stands for all."""
        _log.info("worker trust changed", change=change, worker_id=worker_id, tenant=tenant)
        await self._writer.record(
            trust_change(change, worker_id, tenant, jti=jti, agent_id=agent_id, identity=_IDENTITY)
        )

    async def mode_changed(self, before: str, now: str) -> None:
        """Note that something else decides now which workers live; `*` stands for all of them."""
        _log.warning("heartbeat mode changed", before=before, now=now)
        await self._writer.record(
            trust_change(
                *("heartbeat_mode_transition", "*", "default"),
                identity=_IDENTITY,
                extra={"before": before, "now": now},
            )
        )

    async def disagreement(self, worker_id: str, tenant: str, direction: str, *, jti: str, hour: int) -> None:
        """Note that a worker's heartbeats say something else about it than its session."""
        await self._writer.record(
            heartbeat_disagreement(worker_id, tenant, direction, jti=jti, hour=hour, identity=_IDENTITY)
        )

    async def handshake(
        self, outcome: str, worker_id: str, tenant: str, *, reason: str = "", sdk: str = "", jti: str = ""
    ) -> None:
        """Note how a handshake ended: accepted, renewed or rejected."""
        await self._writer.record(
            AuditEvent(
                "worker_handshake",
                "MEDIUM" if outcome == "rejected" else "INFO",
                tenant,
                f"worker.handshake.{outcome}",
                identity=worker_id,
                reason=reason,
                extra={
                    "worker_id": worker_id,
                    "outcome": outcome,
                    "reason": reason,
                    "sdk_ver": sdk,
                    "jti": jti,
                },
            )
        )

    async def rejected(self, kind: str, sender_id: str, tenant: str, reason: str, job_id: str = "") -> None:
        """Note that a packet was refused because of its token."""
        await self._writer.record(
            AuditEvent(
                "safety.violation",
                "HIGH",
                tenant,
                f"worker.{kind}.rejected",
                job_id=job_id,
                identity=sender_id,
                reason=reason,
                extra={"sender": sender_id, "packet": kind},
            )
        )
