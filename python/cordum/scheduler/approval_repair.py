"""Keeps waiting approvals bound to the policy of today, and approved jobs moving.

Scheduler spec §17, policy spec §16.3.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog
from google.protobuf.json_format import MessageToDict

from cordum._core import config_scope, policy_check, request_from_json, request_hash
from cordum.domain.states import JobState
from cordum.protocol.cap import PolicyCheckResponse
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler.duties import Duties
from cordum.scheduler.job_locks import APPROVAL_TTL_S, under_job_lock
from cordum.scheduler.payloads import payload_of
from cordum.scheduler.safety import SafetyClient
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record

_log = structlog.get_logger("cordum.scheduler")
_WINDOW: Final = 8
"""Waiting jobs looked at per partition and pass."""
_GATES: Final = frozenset({"sys.approval.gate", "job.cordum.approval-gate"})
_UNSPECIFIED: Final = 0
_STILL_HELD: Final = frozenset({1, 3, 4, 5})
_REQUIRE_HUMAN: Final = 3
_ACTOR: Final = "system/reconciler"


@dataclass(frozen=True, slots=True)
class _Held:
    record: Record
    request: bytes


class ApprovalRepair:
    """One pass per reconciler tick, by its leader only."""

    def __init__(
        self,
        jobs: JobStore,
        blobs: BlobStore,
        safety: SafetyClient,
        configs: EffectiveConfigs,
        duties: Duties,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._safety = safety
        self._configs = configs
        self._duties = duties
        self._offset = 0

    async def sweep(self) -> None:
        """Check a window of waiting jobs. Raises Unavailable."""
        current = await self._safety.check(())
        for job in await self._window():
            if _is_altered(job):
                await self._deny(job, "the request changed since it was held", {})
            elif current is not None and _is_stale(job.record, current.policy_snapshot):
                await self._judge_again(job)

    async def _window(self) -> list[_Held]:
        """Return the next waiting jobs of every partition with their requests."""
        last = self._offset + _WINDOW - 1
        replies = await self._jobs.client.pipeline(
            [("ZRANGE", _waiting_index(tag), self._offset, last) for tag in self._jobs.tags]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        self._offset = last + 1 if any(len(reply) == _WINDOW for reply in replies) else 0
        ids = [job_id.decode() for reply in replies for job_id in reply]
        if not ids:
            return []
        records, requests = await self._jobs.get_many(ids), await self._jobs.requests(ids)
        return [
            _Held(record, request)
            for record, request in zip(records, requests, strict=True)
            if record and request and record.get("state") == JobState.APPROVAL_REQUIRED
        ]

    async def _judge_again(self, job: _Held) -> None:
        """Ask today's policy about a job that yesterday's held. No answer leaves it as it is."""
        config = await self._configs.get(config_scope(job.request))
        check = policy_check(job.request, await payload_of(self._blobs, job.request), config.for_policy)
        answer = await self._safety.check((check,))
        if answer is None or answer.items[0].code:
            return
        response = PolicyCheckResponse.FromString(answer.items[0].response)
        if response.decision in _STILL_HELD:
            await self._rebind(job, response)
        elif response.decision != _UNSPECIFIED:
            await self._deny(job, response.reason, _denial(response))

    async def _rebind(self, job: _Held, response: Any) -> None:
        """Bind the open question to the new snapshot; the job still waits for the human it was promised."""
        now, record = now_us(), job.record
        constraints = MessageToDict(response.constraints) if response.HasField("constraints") else None
        fields = {
            "safety_snapshot": response.policy_snapshot,
            "safety_checked_at": str(now),
            "safety_constraints": orjson.dumps(constraints).decode() if constraints is not None else "",
            "approval_revision": str(int(record.get("approval_revision", "1")) + 1),
        }
        if response.decision == _REQUIRE_HUMAN:
            fields |= {"safety_rule_id": response.rule_id, "safety_reason": response.reason}
        change = {
            "to": str(JobState.APPROVAL_REQUIRED),
            "set": fields,
            "decision": _decision({**record, **fields}, constraints, now),
            "events": [_event(now, JobState.APPROVAL_REQUIRED, "repair: bound to the current policy")],
        }
        await self._apply(job, change, "reevaluate_stale_snapshot")

    async def _deny(self, job: _Held, reason: str, fields: dict[str, str]) -> None:
        """End a job whose question no longer stands."""
        now = now_us()
        text = f"safety: denied: {reason}"
        change = {
            "to": str(JobState.DENIED),
            "set": {
                **fields,
                "approval_status": "invalidated",
                "approval_actionability": "invalidated",
                "approval_decision": "invalidate",
                "failure_reason": text,
            },
            "after": ["result", "dlq"],
            "dlq": {
                "status": "JOB_STATUS_DENIED",
                "reason": text,
                "reason_code": "safety_denied",
                "created_at": rfc3339(now),
            },
            "events": [_event(now, JobState.DENIED, f"repair: {reason}")],
        }
        kind = "reevaluate_stale_snapshot" if fields else "invalidate_stale_request"
        if await self._apply(job, change, kind):
            await self._duties.perform([job.record["id"]])

    async def _apply(self, job: _Held, change: dict[str, Any], kind: str) -> bool:
        """Apply under the job's lock unless somebody keeps it; the revision fences the rest."""
        job_id = job.record["id"]
        fence = {"id": job_id, "from": [JobState.APPROVAL_REQUIRED], "rev": int(job.record["rev"])}
        replies: list[Any] = []

        async def move() -> None:
            replies.append(await self._jobs.move({**fence, **change}, now_us=now_us()))

        await under_job_lock(self._jobs.client, job_id, move, APPROVAL_TTL_S)
        moved = bool(replies and replies[0][0] == b"moved")
        if moved:
            _log.info("approval repaired", job_id=job_id, kind=kind, state=change["to"], actor=_ACTOR)
        return moved


def _is_altered(job: _Held) -> bool:
    pinned = job.record.get("safety_job_hash", "")
    try:
        return pinned not in {"", request_hash(request_from_json(job.request))}
    except ValueError:
        return True


def _is_stale(record: Record, current: str) -> bool:
    stored = record.get("safety_snapshot", "")
    known = bool(stored and current) and record.get("topic") not in _GATES
    return known and _base(stored) != _base(current)


def _base(snapshot: str) -> str:
    return snapshot.partition("|")[0]


def _denial(response: Any) -> dict[str, str]:
    return {
        "safety_decision": "DENY",
        "safety_reason": response.reason,
        "safety_rule_id": response.rule_id,
        "safety_snapshot": response.policy_snapshot,
    }


def _decision(record: Record, constraints: dict[str, Any] | None, now: int) -> str:
    """Return the decision entry of a question that was bound anew (scheduler spec §3.4)."""
    return orjson.dumps(
        {
            "decision": "REQUIRE_APPROVAL",
            "reason": record.get("safety_reason", ""),
            "rule_id": record.get("safety_rule_id", ""),
            "policy_snapshot": record["safety_snapshot"],
            "constraints": constraints,
            "remediations": None,
            "approval_required": True,
            "approval_ref": record["id"],
            "job_hash": record.get("safety_job_hash", ""),
            "checked_at": now,
            "approval_status": "pending",
            "actionability": "actionable",
            "approval_revision": int(record["approval_revision"]),
        }
    ).decode()


def _event(now: int, state: JobState, note: str) -> str:
    context = {"approved_by": _ACTOR, "approval_role": "system", "approval_note": note}
    return orjson.dumps({"ts": now, "state": str(state), "ctx": context}).decode()


def _waiting_index(tag: str) -> str:
    return keys.job_index(tag, JobState.APPROVAL_REQUIRED.value)
