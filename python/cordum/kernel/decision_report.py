"""Counts decisions and logs those that are not a plain allow (policy spec §21)."""

from collections.abc import Mapping, Sequence
from typing import Final

from cordum._core import tally_decisions
from cordum.kernel.metrics import DECISIONS, DEFAULT_DECISIONS, DELEGATION_MATCHES
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse
from cordum.runtime.logs import get_logger
from cordum.v1 import safety_batch_pb2

__all__ = ["report_batch", "report_one"]

_NAMES: Final = ("", "ALLOW", "DENY", "REQUIRE_APPROVAL", "THROTTLE", "ALLOW_WITH_CONSTRAINTS")
_DENY: Final = 2
_LINES_MAX: Final = 512
"""Requests of one batch, so every one may have its line."""

DelegationFields = Mapping[str, Sequence[str]]

_log = get_logger()


def report_one(
    request: bytes, answer: bytes, seconds: float, delegation_fields: DelegationFields | None = None
) -> None:
    """Report one answered call: serialized `PolicyCheckRequest` and `PolicyCheckResponse`."""
    item = safety_batch_pb2.BatchItem(response=answer, eval_us=int(seconds * 1e6))
    batch = safety_batch_pb2.BatchResponse(items=[item])
    report_batch(None, batch.SerializeToString(), delegation_fields, single=request)


def report_batch(
    request: bytes | None,
    answer: bytes,
    delegation_fields: DelegationFields | None = None,
    *,
    single: bytes = b"",
) -> None:
    """Report an answered batch: serialized `BatchRequest` and `BatchResponse`.

    ``delegation_fields``: per rule id, the delegation keys of the rule, counted when it denies.
    """
    counts, (allowed, denied), _, held = tally_decisions(answer, _LINES_MAX)
    for number, count in enumerate(counts):
        if count and number < len(_NAMES) and _NAMES[number]:
            DECISIONS.labels(_NAMES[number]).inc(count)
    if allowed:
        DEFAULT_DECISIONS.labels("ALLOW").inc(allowed)
    if denied:
        DEFAULT_DECISIONS.labels("DENY").inc(denied)
    if not held:
        return
    requests = [single] if request is None else safety_batch_pb2.BatchRequest.FromString(request).requests
    items = safety_batch_pb2.BatchResponse.FromString(answer).items
    for place in held:
        if not items[place].code:  # else it was not decided
            _log_line(requests[place], items[place], delegation_fields or {})


def _log_line(request: bytes, item: safety_batch_pb2.BatchItem, fields: DelegationFields) -> None:
    """Log one decision: who and what, never content nor the values of labels."""
    asked = PolicyCheckRequest.FromString(request)
    said = PolicyCheckResponse.FromString(item.response)
    if said.decision == _DENY:
        for field in fields.get(said.rule_id, ()):
            DELEGATION_MATCHES.labels(field, "deny").inc()
    _log.info(
        "decision",
        job_id=asked.job_id,
        tenant=asked.tenant,
        topic=asked.topic,
        decision=_NAMES[said.decision] if said.decision < len(_NAMES) else str(said.decision),
        rule_id=said.rule_id,
        snapshot=said.policy_snapshot,
        duration_us=item.eval_us,
    )
