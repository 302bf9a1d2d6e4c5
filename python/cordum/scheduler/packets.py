"""Bus packets of the scheduler's slow paths, built from stored records."""

from typing import Any

from cordum.bus.messages import OutMessage
from cordum.domain.states import JobState
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobCancel, JobProgress, JobResult, JobStatus
from cordum.runtime.clock import now_us
from cordum.store.jobs import number_of

SENDER = "cordum-scheduler"
# Digits that surely fit into 64 bits.

_STATUS = {
    JobState.SUCCEEDED: 5,
    JobState.FAILED: 6,
    JobState.CANCELLED: 7,
    JobState.DENIED: 8,
    JobState.TIMEOUT: 9,
    JobState.RETRYING: 10,
    JobState.OUTPUT_QUARANTINED: 8,
}
_RETRYING = _STATUS[JobState.RETRYING]
_ERROR_ENUM = {
    "approval_rejected": 300,
    "policy_denied": 300,
    "policy_violation": 301,
    "max_scheduling_retries": 201,
    "timeout": 200,
    "permission_denied": 202,
}


def accepted_result(record: dict[str, str], entry: dict[str, Any]) -> OutMessage:
    """Return the accepted result that reports a record's outcome, with the status its dead letter keeps."""
    code = str(entry.get("reason_code", ""))
    ended_here = record["state"] == JobState.CANCELLED or code == "timeout"
    worker_id = SENDER if ended_here else record.get("worker_id") or SENDER
    result = _result(record, _status(record, entry), code, record.get("failure_reason", ""), worker_id)
    if record["state"] != JobState.OUTPUT_QUARANTINED:
        result.result_ptr = record.get("result_ptr", "")
    result.execution_ms = number_of(record, "execution_ms")
    return _message(subjects.ACCEPTED, record, result)


def dead_letter_event(record: dict[str, str], entry: dict[str, Any]) -> OutMessage:
    """Return the DLQ event of a record, with the reason its dead letter carries."""
    code, reason = str(entry.get("reason_code", "")), str(entry.get("reason", ""))
    return _message(subjects.DLQ, record, _result(record, _status(record, entry), code, reason, SENDER))


def output_audit(record: dict[str, str], decision: str, reason: str) -> bytes:
    """Return the packet that tells of a quarantine or redaction (output policy spec §2.9)."""
    progress = JobProgress(
        job_id=record["id"],
        step_id="output_policy",
        percent=100,
        status=JobStatus.JOB_STATUS_SUCCEEDED if decision == "REDACT" else JobStatus.JOB_STATUS_DENIED,
        message=f"{reason} (topic={record.get('topic', '')})",
    )
    return _packet(record, job_progress=progress)


def cancel_notice(record: dict[str, str]) -> bytes:
    """Return the packet that tells a worker to stop (best effort)."""
    cancel = JobCancel(job_id=record["id"], reason=record.get("failure_reason", ""), requested_by=SENDER)
    return _packet(record, job_cancel=cancel)


def _status(record: dict[str, str], entry: dict[str, Any]) -> int:
    """Return the wire status; a dead letter keeps the one asked for where the record could not (§2.2)."""
    try:
        return int(JobStatus.Value(str(entry.get("status", ""))))
    except ValueError:
        return _STATUS.get(JobState(record["state"]), _RETRYING)


def _result(record: dict[str, str], status: int, code: str, message: str, worker_id: str) -> Any:
    result = JobResult(
        job_id=record["id"],
        status=status,
        worker_id=worker_id,
        error_code=code,
        error_message=message,
        error_code_enum=_ERROR_ENUM.get(code, 0),
    )
    if dispatch_id := _dispatch_id(record):
        result.dispatch.dispatch_id = dispatch_id
    return result


def _dispatch_id(record: dict[str, str]) -> str:
    """Return the dispatch an outcome belongs to. RETRYING is the only one a job moves on from: by then the record names
    its next dispatch."""
    return record.get("dispatch_id", "") if JobState(record["state"]) in _STATUS else ""


def _message(subject: str, record: dict[str, str], result: Any) -> OutMessage:
    # A masked copy that takes the place of an original is news.
    masked = ":redacted" if ":redacted:" in result.result_ptr else ""
    message_id = f"{subject}:{record['id']}:{result.status}:{_dispatch_id(record) or '-'}{masked}"
    return OutMessage(subject, _packet(record, job_result=result), message_id)


def _packet(record: dict[str, str], **payload: Any) -> bytes:
    packet = BusPacket(
        trace_id=record.get("trace_id") or record["id"], sender_id=SENDER, protocol_version=1, **payload
    )
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded
