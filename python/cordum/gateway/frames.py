"""Bus packets as live-stream frames: what is stripped, whose they are, their names (protocol spec §21.3, §21.4)."""

from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from cordum.gateway import metrics
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobStatus

__all__ = ["EVERYBODY", "SOURCES", "Frame", "read_frame"]

SOURCES: Final = {
    subjects.HEARTBEAT: "worker.heartbeat",
    subjects.SUBMIT: "job.submit",
    subjects.PROGRESS: "job.progress",
    subjects.CANCEL: "job.cancel",
    subjects.DLQ: "job.result",
    subjects.ACCEPTED: "job.result",
    subjects.OUTPUT_POLICY_AUDIT: "job.progress",
    subjects.AUDIT_EXPORT: "audit.event",
    subjects.WORKFLOW_EVENT: "system.alert",
    subjects.ALERT: "system.alert",
    subjects.CONFIG_CHANGED: "system.alert",
}
"""Subject → SSE event name."""
EVERYBODY: Final = "*"
"""Tenant of a frame that every client may see."""
_DETAILS: Final = {
    subjects.AUDIT_EXPORT: ("event_type", "tenant_id", "event_id"),
    subjects.CONFIG_CHANGED: ("scope", "scope_id"),
}


class Frame(NamedTuple):
    """One event, serialized once for all clients.

    ``tenant`` None: look it up by ``job_id``; empty: for cross-tenant clients only.
    """

    event: str
    data: str
    tenant: str | None
    job_id: str


def read_frame(subject: str, payload: bytes) -> Frame | None:
    """Return the frame of a packet; None when it does not decode or carries nothing to show."""
    try:
        packet = BusPacket.FromString(payload)
    except DecodeError:
        return None
    kind = packet.WhichOneof("payload")
    if kind is None:
        return None
    body = getattr(packet, kind)
    tenant, job_id = _owner(subject, kind, body)
    try:
        _strip(subject, packet, kind, body)
    except ValueError:
        # A protocol version without one of the fields: rather nothing than a pointer to what is withheld.
        metrics.QUARANTINE_DROPS.inc()
        return None
    data = orjson.dumps(MessageToDict(packet)).decode()
    return Frame(SOURCES[subject], data, tenant, job_id)


def _owner(subject: str, kind: str, body: Any) -> tuple[str | None, str]:
    if kind == "job_request":
        return body.tenant_id or body.meta.tenant_id, body.job_id
    if kind in {"job_result", "job_progress", "job_cancel"}:
        return None, body.job_id
    if kind != "alert":
        return "", ""
    if subject != subjects.CONFIG_CHANGED:
        return body.details.get("tenant_id", ""), ""
    scope = body.details.get("scope", "")
    if scope == "org":
        return body.details.get("scope_id", ""), ""
    return (EVERYBODY if scope == "system" else ""), ""


def _strip(subject: str, packet: Any, kind: str, body: Any) -> None:
    for name in ("auth_token", "signature", "signature_metadata"):
        packet.ClearField(name)
    match kind:
        case "heartbeat":
            body.ClearField("auth_token")
        case "job_request":
            body.ClearField("env")
            _strip_labels(body)
            if body.HasField("compensation"):
                body.compensation.ClearField("env")
                _strip_labels(body.compensation)
        case "job_result" if body.status == JobStatus.JOB_STATUS_DENIED:
            for name in ("result_ptr", "artifact_ptrs", "result_ref", "artifact_refs"):
                body.ClearField(name)
        case "alert" if subject in _DETAILS:
            kept = {name: body.details[name] for name in _DETAILS[subject] if name in body.details}
            body.Clear()
            body.details.update(kept)


def _strip_labels(body: Any) -> None:
    for labels in (body.labels, body.meta.labels if body.HasField("meta") else {}):
        for key in [key for key in labels if key.startswith("_")]:
            del labels[key]
