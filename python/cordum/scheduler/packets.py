"""Bus packets of the scheduler's slow paths, built from stored records."""

from typing import Any

from cordum.bus.messages import OutMessage
from cordum.domain.states import JobState
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobCancel, JobResult
from cordum.runtime.clock import now_us

SENDER = "cordum-scheduler"

_STATUS = {
    JobState.SUCCEEDED: 5,
    JobState.FAILED: 6,
    JobState.CANCELLED: 7,
    JobState.DENIED: 8,
    JobState.TIMEOUT: 9,
    JobState.RETRYING: 10,
    JobState.OUTPUT_QUARANTINED: 8,
}
_ERROR_ENUM = {
    "safety_denied": 300,
    "approval_rejected": 300,
    "policy_denied": 300,
    "timeout": 200,
    "max_scheduling_retries": 201,
}


def accepted_result(record: dict[str, str], code: str) -> OutMessage:
    """Return the accepted result that reports a record's outcome."""
    return _result(subjects.ACCEPTED, record, code, record.get("failure_reason", ""))


def dead_letter_event(record: dict[str, str], entry: dict[str, Any]) -> OutMessage:
    """Return the DLQ event of a record, with the reason its dead letter carries."""
    return _result(subjects.DLQ, record, str(entry.get("reason_code", "")), str(entry.get("reason", "")))


def cancel_notice(record: dict[str, str]) -> bytes:
    """Return the packet that tells a worker to stop (best effort)."""
    cancel = JobCancel(job_id=record["id"], reason=record.get("failure_reason", ""), requested_by=SENDER)
    return _packet(record, job_cancel=cancel)


def _result(subject: str, record: dict[str, str], code: str, message: str) -> OutMessage:
    status = _STATUS[JobState(record["state"])]
    dispatch_id = record.get("dispatch_id", "")
    result = JobResult(
        job_id=record["id"],
        status=status,
        result_ptr=record.get("result_ptr", ""),
        worker_id=record.get("worker_id") or SENDER,
        execution_ms=int(record.get("execution_ms", "0")),
        error_code=code,
        error_message=message,
        error_code_enum=_ERROR_ENUM.get(code, 0),
    )
    if dispatch_id:
        result.dispatch.dispatch_id = dispatch_id
    message_id = f"{subject}:{record['id']}:{status}:{dispatch_id or '-'}"
    return OutMessage(subject, _packet(record, job_result=result), message_id)


def _packet(record: dict[str, str], **payload: Any) -> bytes:
    packet = BusPacket(
        trace_id=record.get("trace_id") or record["id"], sender_id=SENDER, protocol_version=1, **payload
    )
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded
