"""What a later scan changes: the record, the pointer, or the state of its job (output policy spec §2.5, §2.7)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog

from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.domain.errors import Conflict, CordumError
from cordum.domain.states import JobState
from cordum.protocol import subjects
from cordum.runtime.clock import now_us, rfc3339
from cordum.runtime.failpoints import reach
from cordum.scheduler import output_metrics as metrics
from cordum.scheduler.duties import Duties
from cordum.scheduler.job_locks import under_job_lock
from cordum.scheduler.packets import output_audit
from cordum.scheduler.side_writes import SideWrites
from cordum.store.blobs import content_key
from cordum.store.job_times import taken_ms
from cordum.store.jobs import JobStore, Record
from cordum.v1.output_policy_pb2 import OutputCheckResponse

__all__ = ["OutputOutcomes", "Verdict", "record_json"]

_WAITS_S: Final = (1.0, 2.0)
_CODE: Final = "output_quarantined_async"

_log = structlog.get_logger("cordum.scheduler")


@dataclass
class Verdict:
    """What a scan came to. ``decision`` upper case; empty: there was nothing to decide."""

    decision: str
    rule_id: str = ""
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    redacted_ptr: str = ""
    duration_ms: int = 0
    eval_us: int = 0
    findings: Sequence[tuple[str, str]] = ()


def record_json(response: OutputCheckResponse) -> dict[str, Any]:
    """Return the members of an output record that the kernel knows (scheduler spec §3.4)."""
    record = {
        "reason": response.reason.strip(),
        "rule_id": response.rule_id.strip(),
        "policy_snapshot": response.policy_snapshot.strip(),
        "findings": [_finding(finding) for finding in response.findings],
    }
    return {name: value for name, value in record.items() if value}


def _finding(finding: Any) -> dict[str, Any]:
    told = {"type": finding.type, "severity": finding.severity, "detail": finding.detail}
    optional = {
        "scanner": finding.scanner,
        # A 32-bit number in 64 bits shows digits nobody wrote.
        "confidence": round(finding.confidence, 4),
        "matched_pattern": finding.matched_pattern,
        "offset": finding.offset,
        "length": finding.length,
    }
    return told | {name: value for name, value in optional.items() if value}


class OutputOutcomes:
    """Applies verdicts under the job's lock."""

    def __init__(
        self, jobs: JobStore, duties: Duties, side_writes: SideWrites, bus: Bus, planner: Planner
    ) -> None:
        self._jobs = jobs
        self._duties = duties
        self._side = side_writes
        self._bus = bus
        self._planner = planner

    async def finish(self, record: Record) -> None:
        """End the duty of a job there is nothing left to scan of. Raises Unavailable."""
        await self._jobs.duties_done([(record["id"], int(record["rev"]), ("scan",))])

    async def apply(
        self, record: Record, verdict: Verdict, *, failed_code: str = "quarantine_failed"
    ) -> None:
        """Store a verdict in at most three attempts.

        Raises CordumError when none succeeded: the scan stays due then, and a result that should be quarantined is
        withheld and dead-lettered with ``failed_code`` as far as the store lets us.
        """
        failure: CordumError | None = None
        for wait_s in (0.0, *_WAITS_S):
            await asyncio.sleep(wait_s)
            try:
                await self._apply_locked(record["id"], verdict)
            except CordumError as error:
                failure = error
                continue
            return
        if failure is None:
            return
        if verdict.decision == "QUARANTINE":
            _log.error("quarantine failed", job_id=record["id"], error=failure.message)
            await self._withhold(record["id"], verdict, failed_code, failure)
        raise failure

    async def _withhold(self, job_id: str, verdict: Verdict, code: str, failure: CordumError) -> None:
        """Write the record, which keeps readers out, and the dead letter. The revision fences it, not the lock that
        may be the trouble. Raises Unavailable."""
        record = await self._jobs.get(job_id)
        if record is None or not _is_due(record) or record["state"] != JobState.SUCCEEDED:
            return
        if orjson.loads(record.get("output_safety") or b"{}").get("decision") == "QUARANTINE":
            # Told before; another attempt failed.
            return
        change = _change(record, verdict)
        left = ["dlq", *record["after"].split(",")]
        letter = _letter("JOB_STATUS_FAILED", f"{code}: {failure.message}", code, now_us())
        held = {name: change[name] for name in ("id", "from", "rev", "output")}
        held |= {"to": str(JobState.SUCCEEDED), "after": list(dict.fromkeys(left)), "dlq": letter}
        if (await self._jobs.move(held, now_us=now_us()))[0] == b"moved":
            await self._duties.perform([job_id])

    async def _apply_locked(self, job_id: str, verdict: Verdict) -> None:
        moved: list[Record] = []

        async def commit() -> None:
            if (record := await self._commit(job_id, verdict)) is not None:
                moved.append(record)

        if not await under_job_lock(self._jobs.client, job_id, commit):
            raise Conflict("the job is locked")
        for record in moved:
            await self._follow(record, verdict)

    async def _commit(self, job_id: str, verdict: Verdict) -> Record | None:
        """Store the verdict; return the record it changed, None when there was nothing left to decide."""
        record = await self._jobs.get(job_id)
        if record is None or not _is_due(record):
            return None
        if record["state"] != JobState.SUCCEEDED or not verdict.decision:
            await self.finish(record)
            self._note(record, verdict)
            return None
        reach("scan.commit")
        reply = await self._jobs.move(_change(record, verdict), now_us=now_us())
        if reply[0] != b"moved":
            raise Conflict("the job moved meanwhile")
        return record

    async def _follow(self, record: Record, verdict: Verdict) -> None:
        """Do what follows a stored verdict."""
        job_id = record["id"]
        self._note(record, verdict)
        reach("scan.tell")
        if verdict.decision == "QUARANTINE":
            self._side.evidence_kept([content_key(record.get("result_ptr", ""), job_id)])
        if verdict.decision in {"QUARANTINE", "REDACT"}:
            await self._tell(record, verdict)
            await self._duties.perform([job_id])

    def _note(self, record: Record, verdict: Verdict) -> None:
        topic = self._planner.metric_topic(record.get("topic", ""))
        tenant = record.get("tenant", "default")
        check = (
            tenant,
            record["id"],
            topic,
            verdict.decision,
            verdict.rule_id,
            verdict.duration_ms,
            verdict.eval_us,
            verdict.findings,
        )
        metrics.note([check])
        self._side.outputs([check])

    async def _tell(self, record: Record, verdict: Verdict) -> None:
        try:
            await self._bus.publish_core(
                subjects.OUTPUT_POLICY_AUDIT, output_audit(record, verdict.decision, verdict.reason)
            )
        except CordumError as error:
            _log.warning("output decision not told", job_id=record["id"], error=error.message)


def _is_due(record: Record) -> bool:
    return "scan" in record.get("after", "").split(",")


def _letter(status: str, reason: str, code: str, at_us: int) -> dict[str, str]:
    return {"status": status, "reason": reason, "reason_code": code, "created_at": rfc3339(at_us)}


def _change(record: Record, verdict: Verdict) -> dict[str, Any]:
    now = now_us()
    pointer = record.get("result_ptr", "")
    output = {
        **verdict.record,
        "decision": verdict.decision,
        "reason": verdict.reason or verdict.record.get("reason", ""),
        "checked_at": now,
        "check_duration_ms": verdict.duration_ms,
        "phase": "async",
    }
    if verdict.decision != "ALLOW":
        output |= {"original_ptr": pointer, "redacted_ptr": verdict.redacted_ptr}
    text = orjson.dumps({name: value for name, value in output.items() if value}).decode()
    left = [duty for duty in record.get("after", "").split(",") if duty and duty != "scan"]
    change: dict[str, Any] = {
        "id": record["id"],
        "from": [JobState.SUCCEEDED],
        "to": str(JobState.SUCCEEDED),
        "rev": int(record["rev"]),
        "output": text,
        "after": left,
    }
    if verdict.decision == "REDACT":
        change["set"] = {"result_ptr": verdict.redacted_ptr}
        change["after"] = list(dict.fromkeys(["result", *left]))
    elif verdict.decision == "QUARANTINE":
        change |= _quarantine(record, verdict, left, now)
    return change


def _quarantine(record: Record, verdict: Verdict, left: Sequence[str], now: int) -> dict[str, Any]:
    reason = verdict.reason or "output quarantined by async policy"
    context = {
        "rule": verdict.rule_id,
        "reason": reason,
        "findings": len(verdict.findings),
        "error_code": _CODE,
        "error_msg": reason,
        "duration_ms": taken_ms(record, now),
    }
    event = {
        "ts": now,
        "state": str(JobState.OUTPUT_QUARANTINED),
        "ctx": {name: value for name, value in context.items() if value},
    }
    return {
        "to": str(JobState.OUTPUT_QUARANTINED),
        "set": {"failure_reason": reason},
        "after": list(dict.fromkeys(["result", "dlq", *left])),
        "dlq": _letter("JOB_STATUS_DENIED", f"{_CODE}: {reason}", _CODE, now),
        "events": [orjson.dumps(event).decode()],
    }
