"""What was quarantined: who may see it, and what people decide about it (output policy spec §9)."""

from typing import Any, Final, Literal

import orjson

from cordum.audit import AuditChain, AuditEvent
from cordum.domain.errors import Conflict, Forbidden
from cordum.domain.states import JobState
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.security.permissions import is_allowed
from cordum.security.principal import Caller
from cordum.store.blobs import content_key, pointed_key
from cordum.store.jobs import JobStore, Record

__all__ = [
    "Quarantine",
    "Review",
    "evidence_key",
    "is_quarantined",
    "output_record",
    "quarantine_item",
    "read_event",
    "readable_result",
]

_log = get_logger()

Review = Literal["released", "confirmed"]
HELD: Final = "held"
EXPIRED: Final = "expired"
_WITHHELD: Final = frozenset({"QUARANTINE", "DENY"})
_ITEM: Final = ("decision", "rule_id", "reason", "phase", "checked_at")


def output_record(record: Record) -> dict[str, Any]:
    """Return a job's output record; empty without one, or when it is damaged."""
    try:
        found = orjson.loads(record.get("output_safety") or b"{}")
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        _log.warning("output record is damaged", job_id=record["id"])
        return {}
    return found


def is_quarantined(record: Record) -> bool:
    """Tell whether a job's output is withheld: by its newest record, whatever its state says yet."""
    if record.get("output_review") == "released":
        return False
    withheld = str(output_record(record).get("decision", "")).upper() in _WITHHELD
    return withheld or record.get("state") == JobState.OUTPUT_QUARANTINED


def readable_result(caller: Caller, record: Record) -> tuple[str | None, bool]:
    """Return the key of the result a caller may read, or None, and whether the read is to be audited.

    Of a masked result only the copy is ever read.
    """
    job_id = record["id"]
    pointer = record.get("result_ptr", "")
    if record.get("output_review") == "released" and record.get("output_review_ptr"):
        pointer = record["output_review_ptr"]
    key = pointed_key(pointer, job_id)
    # Whose an artifact is was asked when its result was accepted.
    if key is None:
        return None, False
    if not is_quarantined(record):
        return key, False
    return (key, True) if is_allowed(caller.role, "dlq.write") else (None, False)


def quarantine_item(record: Record, *, is_kept: bool) -> dict[str, Any]:
    """Return a quarantined job as an item of the review list; without its evidence a held one is `expired`."""
    safety = output_record(record)
    return {
        "job_id": record["id"],
        "topic": record.get("topic", ""),
        "tenant": record.get("tenant", ""),
        **{name: safety[name] for name in _ITEM if name in safety},
        "findings": safety.get("findings", []),
        "status": record.get("output_review") or (HELD if is_kept else EXPIRED),
    }


def evidence_key(record: Record) -> str:
    """Return the key of what a worker returned, whatever readers are shown."""
    return content_key(str(output_record(record).get("original_ptr", "")), record["id"])


class Quarantine:
    """Reviews of quarantined outputs. Every one is in the audit chain before it counts."""

    def __init__(self, jobs: JobStore, chain: AuditChain) -> None:
        self._jobs = jobs
        self._chain = chain

    async def review(
        self, caller: Caller, record: Record, word: Review, reason: str, pointer: str = ""
    ) -> None:
        """Release or confirm a held output.

        Raises Forbidden for the job's own principal, Conflict when it is not held, Unavailable.
        """
        if caller.effective_principal in {record.get("principal"), record.get("actor_id")} - {"", None}:
            raise Forbidden("the output of one's own job is reviewed by somebody else", code="access_denied")
        if record.get("state") != JobState.OUTPUT_QUARANTINED or record.get("output_review"):
            raise Conflict("the output is not held", code="output_not_held")
        await self._chain.append(self._event(caller, record, word, reason))
        change: dict[str, Any] = {
            "id": record["id"],
            "from": [JobState.OUTPUT_QUARANTINED],
            "to": str(JobState.OUTPUT_QUARANTINED),
            "rev": int(record["rev"]),
            "set": {
                "output_review": word,
                "output_review_by": caller.effective_principal,
                "output_review_reason": reason,
                "output_review_ptr": pointer,
            },
        }
        reply = await self._jobs.move(change, now_us=now_us())
        if reply[0] != b"moved":
            raise Conflict("the job was changed by somebody else", code="output_not_held")

    def _event(self, caller: Caller, record: Record, word: Review, reason: str) -> AuditEvent:
        safety = output_record(record)
        return AuditEvent(
            "policy.override" if word == "released" else "policy.quarantine",
            "HIGH",
            record.get("tenant", caller.tenant),
            f"quarantine.{word.removesuffix('d')}",
            job_id=record["id"],
            decision=word,
            matched_rule=str(safety.get("rule_id", "")),
            reason=reason,
            policy_version=str(safety.get("policy_snapshot", "")),
            identity=caller.effective_principal,
            extra={"role": caller.role, "topic": record.get("topic", "")},
        )


def read_event(caller: Caller, record: Record) -> AuditEvent:
    """Return the event of somebody reading a quarantined output."""
    safety = output_record(record)
    return AuditEvent(
        "policy.quarantine",
        "MEDIUM",
        record.get("tenant", caller.tenant),
        "quarantine.read",
        job_id=record["id"],
        matched_rule=str(safety.get("rule_id", "")),
        policy_version=str(safety.get("policy_snapshot", "")),
        identity=caller.effective_principal,
        extra={"role": caller.role, "topic": record.get("topic", "")},
    )
