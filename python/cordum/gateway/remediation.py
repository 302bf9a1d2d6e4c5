"""What policy offered instead of a refused job, and the job that takes it (policy spec §2.5, gateway spec §14.5)."""

from collections.abc import Mapping
from hashlib import sha256
from secrets import token_hex
from typing import Any

import orjson

from cordum.domain.errors import Conflict, InvalidInput, NotFound
from cordum.store.jobs import Record

__all__ = ["chosen", "new_job_id", "remediated"]

Remediation = Mapping[str, Any]


def chosen(record: Record, remediation_id: str) -> Remediation:
    """Return the remediation the caller means; without an id the only one there is.

    Raises Conflict when policy offered none, InvalidInput when it offered several and none is named, NotFound.
    """
    offered: list[Remediation] = orjson.loads(record.get("safety_remediations") or b"[]") or []
    if not offered:
        raise Conflict("no remediations available", code="no_remediations")
    if not remediation_id:
        if len(offered) > 1:
            ids = ", ".join(str(offer.get("id", "")) for offer in offered[:20])
            raise InvalidInput(f"remediation_id: expected one of {ids}", field="remediation_id")
        return offered[0]
    for offer in offered:
        if offer.get("id") == remediation_id:
            return offer
    raise NotFound("remediation not found", code="remediation_not_found")


def new_job_id(job_id: str, tenant: str, idempotency_key: str) -> str:
    """Return the id of the new job; the same key gives the same id, so that it is made once."""
    if not idempotency_key:
        return f"{job_id}-remediate-{token_hex(4)}"
    digest = sha256(tenant.encode() + b"\0" + idempotency_key.encode()).hexdigest()
    return f"{job_id}-remediate-{digest[:16]}"


def remediated(request: bytes, remediation: Remediation) -> bytes:
    """Return the stored request (protobuf JSON) with the topic, capability and labels of the remediation."""
    changed: dict[str, Any] = orjson.loads(request)
    meta: dict[str, Any] = changed.setdefault("meta", {})
    if topic := str(remediation.get("replacement_topic") or "").strip():
        changed["topic"] = topic
    if capability := str(remediation.get("replacement_capability") or "").strip():
        meta["capability"] = capability
    for labels in (changed.get("labels") or {}, meta.get("labels") or {}):
        for name in remediation.get("remove_labels") or ():
            labels.pop(name, None)
    changed["labels"] = {**(changed.get("labels") or {}), **(remediation.get("add_labels") or {})}
    return orjson.dumps(changed)
