"""Bus packets of the gateway's slow paths, built from stored records (protocol spec §8.3, §17)."""

from typing import Any, Final

from cordum._core import request_from_json
from cordum.bus.messages import OutMessage
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobCancel, JobRequest, JobResult, SystemAlert
from cordum.runtime.clock import now_us, rfc3339
from cordum.runtime.ids import new_id
from cordum.store.jobs import Record

__all__ = ["SENDER", "cancel_notice", "config_changed", "outcome_messages", "resubmit_message"]

SENDER: Final = "api-gateway"
_STATUS: Final = {"CANCELLED": 7, "DENIED": 8}
_CODE_NUMBERS: Final = {"approval_rejected": 300}
"""Of the codes the gateway gives; others have none (protocol spec §4.5)."""


def outcome_messages(
    record: Record, state: str, reason: str, code: str, targets: tuple[str, ...]
) -> list[OutMessage]:
    """Return the results that tell the rest of the system how a job ended here, one per target subject."""
    dispatch_id = record.get("dispatch_id", "")
    result = JobResult(
        job_id=record["id"],
        status=_STATUS[state],
        worker_id=SENDER,
        error_code=code,
        error_message=reason,
        error_code_enum=_CODE_NUMBERS.get(code, 0),
    )
    if dispatch_id:
        result.dispatch.dispatch_id = dispatch_id
    payload = _packet(record, job_result=result)
    tail = f"{record['id']}:{_STATUS[state]}:{dispatch_id or '-'}"
    return [OutMessage(target, payload, f"{target}:{tail}") for target in targets]


def cancel_notice(record: Record, reason: str) -> bytes:
    """Return the packet that asks a worker to stop (best effort)."""
    cancel = JobCancel(job_id=record["id"], reason=reason, requested_by=SENDER)
    return _packet(record, job_cancel=cancel)


def resubmit_message(record: Record, request_json: bytes, bus_message_id: str) -> OutMessage:
    """Return the submit of a stored request under a message id of its own."""
    request = JobRequest.FromString(request_from_json(request_json))
    payload = _packet(record, job_request=request)
    return OutMessage(subjects.SUBMIT, payload, f"jobreq:{subjects.SUBMIT}:{bus_message_id}")


def config_changed(scope: str, scope_id: str) -> bytes:
    """Return the notice that a configuration document changed (protocol spec §18)."""
    alert = SystemAlert(level="INFO", message="config changed", component=SENDER)
    alert.code = "config_changed"
    alert.details.update({"scope": scope, "scope_id": scope_id, "changed_at": rfc3339()})
    packet = BusPacket(trace_id=new_id(), sender_id=SENDER, protocol_version=1, alert=alert)
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded


def _packet(record: Record, **payload: Any) -> bytes:
    packet = BusPacket(
        trace_id=record.get("trace_id") or record["id"], sender_id=SENDER, protocol_version=1, **payload
    )
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded
