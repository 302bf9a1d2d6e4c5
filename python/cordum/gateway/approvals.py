"""Human decisions about held jobs, each bound to one request and one policy snapshot
(gateway spec §15, policy spec §16.3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToJson

from cordum._core import SubmitBatch
from cordum.bus.publisher import Publisher
from cordum.domain.approval_repairs import GATES, release, snapshot_base, stored_hash
from cordum.domain.errors import Conflict, Forbidden, NotFound, Unavailable
from cordum.gateway.approval_texts import masked_note
from cordum.gateway.job_actions import JobActions
from cordum.gateway.packets import outcome_messages, resubmit_message
from cordum.protocol import subjects
from cordum.protocol.cap import PolicyCheckResponse
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import now_us, rfc3339
from cordum.runtime.logs import get_logger
from cordum.security.principal import Caller
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record
from cordum.store.locks import Lock
from cordum.telemetry import approvals
from cordum.v1.safety_batch_pb2 import BatchResponse

__all__ = ["Approvals", "check_other_person"]

LOCK_TTL_S: Final = 10.0
LOCK_WAIT_S: Final = 2.0
LOCK_POLL_S: Final = 0.025
WAITING: Final = "APPROVAL_REQUIRED"
_RUNS_OVER: Final = frozenset({b"succeeded", b"failed", b"denied", b"cancelled", b"timed_out"})
_ALLOW, _REQUIRE_HUMAN, _THROTTLE, _CONSTRAINED = 1, 3, 4, 5

_log = get_logger()


class Approvals:
    """Approve and reject. Each decision happens under the job's lock and is fenced by the record's revision."""

    def __init__(
        self,
        jobs: JobStore,
        blobs: BlobStore,
        kernel: PolicyClient,
        publisher: Publisher,
        actions: JobActions,
        configs: EffectiveConfigs,
        kernel_timeout_s: float,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._kernel = kernel
        self._publisher = publisher
        self._actions = actions
        self._configs = configs
        self._kernel_timeout_s = kernel_timeout_s

    async def approve(self, caller: Caller, job_id: str, reason: str, note: str) -> dict[str, object]:
        """Release a held job; return the HTTP body. Raises NotFound, Conflict, Forbidden, Unavailable."""
        await self._actions.find(caller, job_id, "approval_not_found")
        async with self.locked(job_id):
            record = await self._actions.find(caller, job_id, "approval_not_found")
            if record.get("approval_decision") == "approve":
                return _repeated(record, "already_approved", "approved")
            _check_waiting(record)
            check_other_person(caller, record)
            await self._check_run(record)
            request = await self._checked_request(record)
            snapshot = await self.current_snapshot(record, request)
            return await self._release(
                caller, record, request, snapshot, masked_note(reason), masked_note(note)
            )

    async def reject(self, caller: Caller, job_id: str, reason: str, note: str) -> dict[str, object]:
        """Deny a held job; return the HTTP body. Raises NotFound, Conflict, Forbidden."""
        await self._actions.find(caller, job_id, "approval_not_found")
        async with self.locked(job_id):
            record = await self._actions.find(caller, job_id, "approval_not_found")
            if record.get("approval_decision") == "reject":
                return _repeated(record, "already_rejected", "rejected")
            _check_waiting(record)
            check_other_person(caller, record)
            await self._check_run(record)
            return await self._refuse(caller, record, masked_note(reason), masked_note(note))

    @asynccontextmanager
    async def locked(self, job_id: str) -> AsyncIterator[None]:
        lock = Lock(self._jobs.client, keys.job_lock(job_id), LOCK_TTL_S)
        end_s = asyncio.get_running_loop().time() + LOCK_WAIT_S
        while not await lock.acquire():
            if asyncio.get_running_loop().time() >= end_s:
                raise Conflict(
                    "somebody else is deciding about this job",
                    code="approval_retryable_lock",
                    details={"retryable": True},
                )
            await asyncio.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            await lock.release()

    async def is_run_over(self, record: Record) -> bool:
        """Tell whether a job is the gate of a workflow run that has ended. Raises Unavailable."""
        if record.get("topic") not in GATES or not record.get("run_id"):
            return False
        key = keys.workflow_run(record["run_id"])
        return bool(await self._jobs.client.execute("HGET", key, "status") in _RUNS_OVER)

    async def _check_run(self, record: Record) -> None:
        if await self.is_run_over(record):
            raise Conflict("the workflow run is over", code="approval_terminal_run")

    async def _checked_request(self, record: Record) -> bytes:
        """Return the stored request if it still is the one that was held for approval."""
        request = await self._jobs.request(record["id"])
        pinned = record.get("safety_job_hash", "")
        if request is None or not pinned or stored_hash(request) != pinned:
            raise Conflict("the request changed since it was held", code="approval_stale_request")
        return request

    async def current_snapshot(self, record: Record, request: bytes) -> dict[str, str]:
        """Return the safety fields the approval is bound to; judge again when the policy changed meanwhile."""
        context = await self._blobs.get(keys.context_blob(record["id"])) or b""
        batch = SubmitBatch.again(
            request, context, record["id"], record.get("trace_id", ""), "", {}, {}, now_us()
        )
        configs = await self._configs.many(batch.config_scopes())
        question = batch.policy_request([config.for_policy for config in configs])
        answer = await self._kernel.evaluate_encoded(question, self._kernel_timeout_s)
        judged = BatchResponse.FromString(answer)
        if len(judged.items) != 1 or judged.items[0].code:
            raise Unavailable("safety kernel gave no decision")
        response = PolicyCheckResponse.FromString(judged.items[0].response)
        stored = record.get("safety_snapshot", "")
        if stored and snapshot_base(response.policy_snapshot) == snapshot_base(stored):
            return {"safety_snapshot": stored}
        if response.decision in {_ALLOW, _CONSTRAINED, _REQUIRE_HUMAN}:
            return _rebound(response)
        if response.decision != _THROTTLE:
            await self._invalidate(record, response)
        raise Conflict("the policy changed since the job was held", code="approval_stale_snapshot")

    async def _invalidate(self, record: Record, response: Any) -> None:
        """Deny a held job that today's policy denies."""
        reason = f"safety: denied: {response.reason}"
        await self.end(
            record,
            reason,
            "safety_denied",
            {
                "safety_decision": "DENY",
                "safety_reason": response.reason,
                "safety_rule_id": response.rule_id,
                "safety_snapshot": response.policy_snapshot,
                "approval_status": "invalidated",
                "approval_actionability": "invalidated",
                "approval_decision": "invalidate",
            },
            {"rule": response.rule_id, "reason": reason},
        )

    async def _release(
        self, caller: Caller, record: Record, request: bytes, safety: dict[str, str], reason: str, note: str
    ) -> dict[str, object]:
        now, job_id, snapshot = now_us(), record["id"], safety["safety_snapshot"]
        fields = {**safety, **_resolution(caller, record, "approve", "approved", reason, note, now)}
        event = _event(now, "PENDING", caller, note)
        change = {
            "id": job_id,
            "from": [WAITING],
            "rev": int(record["rev"]),
            **release(record, request, fields, snapshot, (reason, note), event, now),
        }
        await self.move(change, now)
        _note_answer("approved", record, now)
        await self._blobs.keep([keys.context_blob(job_id)])
        body: dict[str, object] = {"job_id": job_id, "trace_id": record.get("trace_id", "")}
        if await self.publish_submit(record, change["req"]):
            body["publish_deferred"] = True
        return body

    async def publish_submit(self, record: Record, stamped: bytes) -> str:
        """Publish an approved request; return why that failed, empty when it is out. The replayer tries again."""
        message = resubmit_message(record, stamped, f"approval:{record['id']}")
        outcome = (await self._publisher.publish_burst([message]))[0]
        if outcome.ok:
            return ""
        _log.warning(
            "approved job not published, the replayer will", job_id=record["id"], error=outcome.error
        )
        return outcome.error or outcome.kind

    async def _refuse(self, caller: Caller, record: Record, reason: str, note: str) -> dict[str, object]:
        text = reason or "approval rejected"
        now = now_us()
        resolution = _resolution(caller, record, "reject", "rejected", reason, note, now)
        context = {"approved_by": caller.effective_principal, "approval_role": caller.role, "reason": text}
        await self.end(record, text, "approval_rejected", resolution, context)
        _note_answer("denied", record, now)
        return {"job_id": record["id"]}

    async def end(
        self,
        record: Record,
        reason: str,
        code: str,
        fields: dict[str, str],
        context: dict[str, str],
    ) -> None:
        """Move a held job to DENIED with its dead letter, then tell the others."""
        now, job_id = now_us(), record["id"]
        waited_ms = max(0, now - int(record.get("created_at", now))) // 1_000
        outcome = {"error_code": code, "error_msg": reason, "duration_ms": waited_ms}
        event = {"ts": now, "state": "DENIED", "ctx": {**context, **outcome}}
        revision = await self.move(
            {
                "id": job_id,
                "from": [WAITING],
                "rev": int(record["rev"]),
                "to": "DENIED",
                "set": {**fields, "failure_reason": reason},
                "after": ["result", "dlq"],
                "dlq": {
                    "status": "JOB_STATUS_DENIED",
                    "reason": reason,
                    "reason_code": code,
                    "created_at": rfc3339(now // 1_000_000 * 1_000_000),
                },
                "events": [orjson.dumps(event).decode()],
            },
            now,
        )
        await self._actions.note_dead_letter(record, now)
        targets = (subjects.ACCEPTED, subjects.DLQ)
        messages = outcome_messages(record, "DENIED", reason, code, targets)
        await self._actions.finish(record, revision, messages)

    async def move(self, change: dict[str, Any], now: int) -> int:
        """Apply a decision; return the new revision. Raises Conflict when the job moved meanwhile."""
        reply = await self._jobs.move(change, now_us=now)
        if reply[0] == b"moved":
            return int(reply[2])
        if not reply[2]:
            raise NotFound("approval not found", code="approval_not_found")
        raise Conflict("the job is not waiting for approval", code="approval_not_actionable")


def _note_answer(decision: str, record: Record, now: int) -> None:
    approvals.DECISIONS.labels(decision).inc()
    approvals.LATENCY.observe(max(0, now - int(record.get("created_at", now))) / 1e6)


def _rebound(response: Any) -> dict[str, str]:
    """Return the safety fields of a fresh judgement; empty ones are removed from the record."""
    constraints = MessageToJson(response.constraints, indent=None) if response.HasField("constraints") else ""
    return {
        "safety_snapshot": response.policy_snapshot,
        "safety_rule_id": response.rule_id,
        "safety_reason": response.reason,
        "safety_checked_at": str(now_us()),
        "safety_constraints": constraints,
    }


def _check_waiting(record: Record) -> None:
    if record.get("approval_decision") in {"approve", "reject"}:
        raise Conflict("the approval is already resolved", code="approval_already_resolved")
    if record.get("state") != WAITING or record.get("approval_actionability", "actionable") != "actionable":
        raise Conflict("the job is not waiting for approval", code="approval_not_actionable")


def check_other_person(caller: Caller, record: Record) -> None:
    """Refuse whoever submitted the job. Raises Forbidden."""
    # A job that came over the bus has no submitting key, only a principal.
    submitter = record.get("submitted_by") or f"|principal:{record.get('principal', '')}"
    if caller.source == "anonymous" or caller.is_same_person(submitter):
        raise Forbidden("the submitter may not decide about the job", code="self_approval_denied")


def _resolution(
    caller: Caller, record: Record, decision: str, status: str, reason: str, note: str, now: int
) -> dict[str, str]:
    return {
        "approval_by": caller.effective_principal,
        "approval_role": caller.role,
        "approval_at": str(now),
        "approval_reason": reason,
        "approval_note": note,
        "approval_status": status,
        "approval_actionability": "resolved",
        "approval_decision": decision,
        "approval_revision": str(int(record.get("approval_revision", "1")) + 1),
    }


def _event(now: int, state: str, caller: Caller, note: str) -> str:
    context = {"approved_by": caller.effective_principal, "approval_role": caller.role}
    if note:
        context["approval_note"] = note
    return orjson.dumps({"ts": now, "state": state, "ctx": context}).decode()


def _repeated(record: Record, status: str, verb: str) -> dict[str, object]:
    body: dict[str, object] = {
        "job_id": record["id"],
        "trace_id": record.get("trace_id", ""),
        "status": status,
    }
    if verb == "rejected":
        del body["trace_id"]
    body[f"{verb}_by"] = record.get("approval_by", "")
    body[f"{verb}_at"] = rfc3339(int(record.get("approval_at", "0")))
    return body
