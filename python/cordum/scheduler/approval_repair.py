"""Keeps waiting approvals bound to the policy of today, and approved jobs moving.

Scheduler spec §17, policy spec §16.3.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog
from google.protobuf.json_format import MessageToDict

from cordum._core import config_scope, policy_check
from cordum.domain.approval_repairs import (
    AUTOMATIC,
    RepairPlan,
    denial_of,
    plan_repair,
    release,
    resolution_fields,
    stored_hash,
)
from cordum.domain.states import JobState
from cordum.protocol.cap import PolicyCheckResponse
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler.duties import Duties
from cordum.scheduler.job_locks import APPROVAL_TTL_S, under_job_lock
from cordum.scheduler.moves import transition_event
from cordum.scheduler.payloads import payload_of
from cordum.scheduler.safety import SafetyClient
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.job_times import taken_ms
from cordum.store.jobs import JobStore, Record

_log = structlog.get_logger("cordum.scheduler")
_WINDOW: Final = 8
"""Waiting jobs looked at per partition and pass."""
_UNSPECIFIED: Final = 0
_STILL_HELD: Final = frozenset({1, 3, 4, 5})
_REQUIRE_HUMAN: Final = 3
_ACTOR: Final = "system/reconciler"
_ROLE: Final = "system"


@dataclass(frozen=True, slots=True)
class _Held:
    record: Record
    request: bytes

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the stored request; none when it is damaged."""
        try:
            return orjson.loads(self.request).get("labels") or {}
        except (orjson.JSONDecodeError, AttributeError):
            return {}


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
        snapshot = current.policy_snapshot if current is not None else ""
        for job in await self._window():
            plan = plan_repair(job.record, job.labels, stored_hash(job.request), snapshot)
            if plan.kind == "apply_approved_resolution":
                await self._approve(job, plan)
            elif plan.kind == "reevaluate_stale_snapshot":
                await self._judge_again(job, plan)
            elif plan.kind in AUTOMATIC:
                await self._deny(job, plan)

    async def _approve(self, job: _Held, plan: RepairPlan) -> None:
        """Finish an approval that stopped half way: the replayer publishes it."""
        now, record = now_us(), job.record
        snapshot = record.get("safety_snapshot", "")
        texts = (record.get("approval_reason", ""), record.get("approval_note", ""))
        fields = resolution_fields(record, plan, _ACTOR, _ROLE, plan.reason, now)
        event = _event(now, JobState.PENDING, f"repair: {plan.reason}")
        change = release(record, job.request, fields, snapshot, texts, event, now)
        await self._apply(job, change, plan.kind)

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

    async def _judge_again(self, job: _Held, plan: RepairPlan) -> None:
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
            denied = replace(
                plan,
                approval_status="invalidated",
                actionability="invalidated",
                decision="invalidate",
                reason=response.reason,
            )
            await self._deny(job, denied, _denial(response))

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

    async def _deny(self, job: _Held, plan: RepairPlan, safety: dict[str, str] | None = None) -> None:
        """End a job whose question no longer stands, or was answered with no."""
        now, record = now_us(), job.record
        code, text = denial_of(record, plan)
        change = {
            "to": str(JobState.DENIED),
            "set": {
                **(safety or {}),
                **resolution_fields(record, plan, _ACTOR, _ROLE, plan.reason, now),
                "failure_reason": text,
            },
            "after": ["result", "dlq"],
            "dlq": {
                "status": "JOB_STATUS_DENIED",
                "reason": text,
                "reason_code": code,
                "created_at": rfc3339(now),
            },
            "events": [
                _event(
                    now,
                    JobState.DENIED,
                    f"repair: {plan.reason}",
                    error_code=code,
                    error_msg=text,
                    duration_ms=taken_ms(record, now),
                )
            ],
        }
        if await self._apply(job, change, plan.kind):
            await self._duties.perform([record["id"]])

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


def _event(now: int, state: JobState, note: str, **outcome: object) -> str:
    return transition_event(
        now, state, approved_by=_ACTOR, approval_role=_ROLE, approval_note=note, **outcome
    )


def _waiting_index(tag: str) -> str:
    return keys.job_index(tag, JobState.APPROVAL_REQUIRED.value)
