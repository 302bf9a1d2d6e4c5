"""What the scheduler reports to the audit chain (scheduler spec §4, §6.3; security spec §19)."""

from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from cachetools import LRUCache

from cordum.audit import AuditEvent, AuditWriter, held_decisions

__all__ = ["Mismatch", "Report", "Trail"]

_log = structlog.get_logger("cordum.scheduler")
_IDENTITY: Final = "cordum-scheduler"
_TOLD_MAX: Final = 8_192
"""Decisions remembered as told: a job that waits is judged again every few seconds."""

Report = tuple[str, str, str, str, str]
"""Kind, job id, tenant, topic, sender of a submit that claims what is not so, or of a job whose request was changed."""
Mismatch = tuple[str, str, str, str, str, str]
"""Cause, job id, tenant, topic, stored snapshot, asserted snapshot of an approval that does not count."""

# kind -> event type, action, reason
_REPORTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "request_conflict": (
        "job.request_conflict",
        "scheduler.submit_reject",
        "another request was submitted under the id of a stored job",
    ),
    "request_altered": (
        "job.request_conflict",
        "scheduler.request_reject",
        "the stored request of a job is not the one that was submitted",
    ),
    "approval_claim": (
        "approval.revision_mismatch",
        "scheduler.approval_claim_reject",
        "a submit claims an approval that nobody gave",
    ),
    "tenant_mismatch": (
        "safety.violation",
        "scheduler.submit_reject",
        "tenant_id and env.tenant_id of a submit differ",
    ),
}


class Trail:
    """Writes events nobody waits for; each is in the log as well."""

    def __init__(self, writer: AuditWriter) -> None:
        self._writer = writer
        self._told: LRUCache[tuple[str, str, str, str], bool] = LRUCache(_TOLD_MAX)

    def decisions(self, requests: bytes, response: bytes) -> None:
        """Report the decisions of a serialized batch that are no plain allow, each once (policy spec §14)."""
        for event in held_decisions(requests, response, "scheduler.check"):
            about = (event.job_id, event.decision, event.matched_rule, event.policy_version)
            if not self._told.get(about):
                self._told[about] = True
                self._writer.offer(event)

    async def submits(self, reports: Iterable[Report]) -> None:
        """Report refused submits."""
        for kind, job_id, tenant, topic, sender in reports:
            event_type, action, reason = _REPORTS[kind]
            _log.error(event_type, action=action, reason=reason, job_id=job_id, tenant=tenant, sender=sender)
            await self._record(event_type, action, reason, job_id, tenant, {"topic": topic, "sender": sender})

    async def approvals(self, mismatches: Iterable[Mismatch]) -> None:
        """Report approvals that do not count (policy spec §16.3)."""
        for cause, job_id, tenant, topic, stored, asserted in mismatches:
            _log.warning(
                "approval.revision_mismatch",
                action="scheduler.approval_fast_path_reject",
                cause=cause,
                job_id=job_id,
                tenant=tenant,
                topic=topic,
                stored_snapshot=stored,
                asserted_snapshot=asserted,
            )
            extra = {"stored_snapshot": stored, "asserted_snapshot": asserted, "topic": topic, "cause": cause}
            await self._record(
                "approval.revision_mismatch",
                "scheduler.approval_fast_path_reject",
                "the approval is not for the policy or request in force",
                job_id,
                tenant,
                extra,
            )

    async def bypassed(self, job_id: str, tenant: str, topic: str, reason: str, origin: str) -> None:
        """Report a job that runs without a policy answer (scheduler spec §22)."""
        _log.warning(
            "safety.bypass_admit",
            job_id=job_id,
            tenant=tenant,
            topic=topic,
            reason=reason,
            fail_mode_origin=origin,
        )
        extra = {"fail_mode_origin": origin, "topic": topic}
        await self._record("safety.bypass_admit", "scheduler.admit", reason, job_id, tenant, extra)

    async def _record(
        self,
        event_type: str,
        action: str,
        reason: str,
        job_id: str,
        tenant: str,
        extra: Mapping[str, str],
    ) -> None:
        await self._writer.record(
            AuditEvent(
                event_type=event_type,
                severity="HIGH",
                tenant_id=tenant or "default",
                action=action,
                job_id=job_id,
                reason=reason,
                identity=_IDENTITY,
                extra=extra,
            )
        )
