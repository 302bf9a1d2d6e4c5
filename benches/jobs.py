"""Jobs of the benchmarks: the request, its bus packet, and the record the gateway would create."""

from dataclasses import dataclass
from typing import Any

import msgpack
import orjson

from benches.policies import CAPABILITY, RISK_TAGS, TOPICS
from cordum import _core
from cordum.protocol.cap import BusPacket, JobRequest
from cordum.runtime.clock import now_us
from cordum.runtime.ids import new_id

__all__ = ["PAYLOAD_BYTES", "TENANT", "Job", "make_job", "submit_body"]

TENANT = "default"
PRINCIPAL = "bench"
PAYLOAD_BYTES = 1024
# The gateway's first event, as `rust/wire/src/stored/event.rs` writes it.
_PENDING, _AS_RECORDED = 0, 64


@dataclass(frozen=True, slots=True)
class Job:
    """One job before anybody has heard of it."""

    job_id: str
    transition: dict[str, Any]
    packet: bytes
    """What the gateway publishes on `sys.job.submit`."""


def make_job(number: int, payload_bytes: int, sender: str = "api-gateway") -> Job:
    """Return job ``number``; ``payload_bytes`` of text travel inside the request (`env.payload`).

    The gateway is the one sender whose jobs have a record before they are submitted.
    """
    job_id, now = new_id(), now_us()
    request = JobRequest(
        job_id=job_id,
        topic=TOPICS[number % len(TOPICS)],
        priority=1,
        context_ptr=f"redis://ctx:{job_id}",
        tenant_id=TENANT,
        principal_id=PRINCIPAL,
        env={"tenant_id": TENANT},
        labels={"env": "prod", "_source": "api"},
    )
    if payload_bytes:
        request.env["payload"] = "x" * payload_bytes
    request.meta.tenant_id = TENANT
    request.meta.actor_id = PRINCIPAL
    request.meta.capability = CAPABILITY
    request.meta.risk_tags.extend(RISK_TAGS)
    packet = BusPacket(trace_id=job_id, sender_id=sender, protocol_version=1, job_request=request)
    packet.created_at.FromMicroseconds(now)
    return Job(job_id, _transition(request, now), packet.SerializeToString(deterministic=True))


def _transition(request: JobRequest, now: int) -> dict[str, Any]:
    encoded = request.SerializeToString(deterministic=True)
    fields = {
        "topic": request.topic,
        "tenant": TENANT,
        "principal": PRINCIPAL,
        "labels": orjson.dumps(dict(request.labels)).decode(),
        "capability": CAPABILITY,
        "risk_tags": orjson.dumps(RISK_TAGS).decode(),
        "req_hash": _core.request_hash(encoded),
        "submitted_by": f"apikey:0123456789abcdef|principal:{PRINCIPAL}",
    }
    return {
        "id": request.job_id,
        "from": [""],
        "to": "PENDING",
        "set": fields,
        "req": _core.request_to_json(encoded),
        "events": [msgpack.packb([now, _PENDING, {_AS_RECORDED: True}])],
    }


def submit_body(number: int, payload_bytes: int) -> bytes:
    """Return the HTTP body that submits job ``number``."""
    return orjson.dumps(
        {
            "topic": TOPICS[number % len(TOPICS)],
            "prompt": "x" * payload_bytes,
            "capability": CAPABILITY,
            "risk_tags": RISK_TAGS,
            "labels": {"env": "prod"},
        }
    )
