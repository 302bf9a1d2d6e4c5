"""Repairs of approvals whose record and job disagree, and what an approver wants to know (gateway spec §15.4)."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from cordum.domain.approval_repairs import (
    RepairPlan,
    denial_of,
    plan_repair,
    release,
    resolution_fields,
    stored_hash,
)
from cordum.domain.errors import Conflict, CordumError, NotFound
from cordum.gateway.approval_items import PolicyInForce, approval_item
from cordum.gateway.approval_texts import INPUT_BYTES, masked_note
from cordum.gateway.approvals import Approvals, check_other_person
from cordum.gateway.job_actions import JobActions
from cordum.gateway.packets import outcome_messages
from cordum.protocol import subjects
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import now_us
from cordum.security.principal import Caller
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.job_list import JobQuery, list_jobs
from cordum.store.jobs import JobStore, Record

__all__ = ["ApprovalRepairs"]

_PRIOR_MAX: Final = 10
_PRIOR_US: Final = 30 * 86_400 * 1_000_000
_PRIOR_LOOKED_AT: Final = 200


class ApprovalRepairs:
    """Plans and performs repairs; each is fenced by the record's revision and the job's lock."""

    def __init__(
        self,
        approvals: Approvals,
        actions: JobActions,
        jobs: JobStore,
        blobs: BlobStore,
        kernel: PolicyClient,
        kernel_timeout_s: float,
    ) -> None:
        self._approvals = approvals
        self._actions = actions
        self._jobs = jobs
        self._blobs = blobs
        self._kernel = kernel
        self._kernel_timeout_s = kernel_timeout_s

    async def repair(self, caller: Caller, job_id: str, *, apply: bool, note: str) -> dict[str, object]:
        """Plan the repair of a job's approval and, if asked, perform it; return the HTTP body.

        Raises NotFound, Conflict (nothing to repair, somebody else decides, the job moved), Forbidden, Unavailable.
        """
        record = await self._actions.find(caller, job_id, "approval_not_found")
        if not apply:
            return await self._body(record, await self._plan(record), apply=False)
        async with self._approvals.locked(job_id):
            record = await self._actions.find(caller, job_id, "approval_not_found")
            plan = await self._plan(record)
            if not plan.repairable:
                body = await self._body(record, plan, apply=True)
                raise Conflict("nothing to repair", code="not_repairable", details=body)
            error = await self._apply(caller, record, plan, masked_note(note) or plan.reason)
        after = await self._actions.find(caller, job_id, "approval_not_found")
        return await self._body(after, plan, apply=True, applied=True, publish_error=error)

    async def _plan(self, record: Record) -> RepairPlan:
        request = await self._jobs.request(record["id"]) or b""
        return plan_repair(
            record,
            _document(request).get("labels") or {},
            stored_hash(request),
            (await self.policy_in_force()).snapshot,
            is_run_over=await self._approvals.is_run_over(record),
        )

    async def policy_in_force(self) -> PolicyInForce:
        """Return the policy in force; empty while the kernel does not tell."""
        try:
            return PolicyInForce(*await self._kernel.policy_in_force(self._kernel_timeout_s))
        except CordumError:
            return PolicyInForce()

    async def _apply(self, caller: Caller, record: Record, plan: RepairPlan, note: str) -> str:
        """Perform a repair; return why its publish failed, empty when everything is out."""
        if plan.kind == "replay_pending_publish":
            return await self._replay(record, plan)
        if plan.kind == "reevaluate_stale_snapshot":
            await self._rebind(record)
            return ""
        now = now_us()
        actor = caller.effective_principal
        fields = resolution_fields(record, plan, actor, caller.role, note, now)
        event = {"approved_by": actor, "approval_role": caller.role, "approval_note": f"repair: {note}"}
        if plan.kind == "apply_approved_resolution":
            # Whoever completes an approval without a known approver is the approver.
            check_other_person(caller, record)
            return await self._release(record, fields, event, now)
        code, reason = denial_of(record, plan)
        await self._approvals.end(record, reason, code, fields, event)
        return ""

    async def _release(
        self, record: Record, fields: dict[str, str], event: Mapping[str, str], now: int
    ) -> str:
        request = await self._jobs.request(record["id"]) or b""
        snapshot = record.get("safety_snapshot", "")
        texts = (record.get("approval_reason", ""), record.get("approval_note", ""))
        told = orjson.dumps({"ts": now, "state": "PENDING", "ctx": event}).decode()
        change = {
            "id": record["id"],
            "from": [record["state"]],
            "rev": int(record["rev"]),
            **release(record, request, fields, snapshot, texts, told, now),
        }
        await self._approvals.move(change, now)
        await self._blobs.keep([keys.context_blob(record["id"])])
        return await self._approvals.publish_submit(record, change["req"])

    async def _rebind(self, record: Record) -> None:
        """Bind the open question to the policy in force; one that policy denies ends."""
        request = await self._jobs.request(record["id"]) or b""
        safety = await self._approvals.current_snapshot(record, request)
        now = now_us()
        change = {
            "id": record["id"],
            "from": [record["state"]],
            "rev": int(record["rev"]),
            "to": record["state"],
            "set": {**safety, "approval_revision": str(int(record.get("approval_revision", "1")) + 1)},
        }
        await self._approvals.move(change, now)

    async def _replay(self, record: Record, plan: RepairPlan) -> str:
        """Publish what a stored decision still owes, then note that it is published."""
        if plan.publish_target == "submit":
            request = await self._jobs.request(record["id"]) or b""
            if error := await self._approvals.publish_submit(record, request):
                return error
        else:
            targets = (subjects.ACCEPTED, subjects.DLQ)
            reason = record.get("failure_reason", "")
            messages = outcome_messages(record, "DENIED", reason, "approval_rejected", targets)
            if not await self._actions.finish(record, int(record["rev"]), messages):
                return "not published"
        now = now_us()
        published = {"approval_publish_status": "published", "approval_published_at": str(now)}
        change = {
            "id": record["id"],
            "from": [record["state"]],
            "rev": int(record["rev"]),
            "to": record["state"],
            "set": published,
        }
        # The scheduler may have taken the submit already, and noted it.
        await self._jobs.move(change, now_us=now)
        return ""

    async def _body(
        self, record: Record, plan: RepairPlan, *, apply: bool, applied: bool = False, publish_error: str = ""
    ) -> dict[str, object]:
        return {
            "job_id": record["id"],
            "apply": apply,
            "applied": applied,
            "repairable": plan.repairable,
            "state": record.get("state", ""),
            "trace_id": record.get("trace_id", ""),
            "approval": await self._item(record),
            "plan": plan.document(),
            "publish_deferred": bool(publish_error),
            "publish_error": publish_error,
        }

    async def _item(self, record: Record) -> dict[str, Any]:
        request = await self._jobs.request(record["id"]) or b""
        (head,) = await self._blobs.heads([keys.context_blob(record["id"])], INPUT_BYTES)
        return approval_item(record, _document(request), head, await self.policy_in_force())

    async def context(self, caller: Caller, job_id: str) -> dict[str, object]:
        """Return what helps to decide about a held job. Raises NotFound, Unavailable."""
        record = await self._actions.find(caller, job_id, "approval_not_found")
        if not record.get("approval_status"):
            raise NotFound("approval not found", code="approval_not_found")
        item = await self._item(record)
        now, deadline = now_us(), record.get("deadline_unix", "")
        return {
            "approval": item,
            "blast_radius": item["blast_radius"],
            "prior_approvals": await self._prior(record, now),
            "rollback_hint": item.get("rollback_hint", ""),
            "policy_snapshot_summary": item["policy_snapshot_summary"],
            "time_remaining_ms": max(0, int(deadline) - now) // 1_000 if deadline.isdecimal() else None,
            "constraints": item["constraints"] or None,
        }

    async def _prior(self, record: Record, now: int) -> list[dict[str, object]]:
        """Return how humans answered about the same topic lately, newest first."""
        query = JobQuery(
            tenant=record.get("tenant", ""),
            topic=record.get("topic", ""),
            after_us=now - _PRIOR_US,
            limit=_PRIOR_LOOKED_AT,
        )
        found, _ = await list_jobs(self._jobs, query)
        answered = [one for one in found if one.get("approval_at") and one["id"] != record["id"]]
        return [_prior_item(one) for one in answered[:_PRIOR_MAX]]


def _prior_item(record: Record) -> dict[str, object]:
    return {
        "job_id": record["id"],
        "topic": record.get("topic", ""),
        "tenant": record.get("tenant", ""),
        "decision": record.get("approval_decision", ""),
        "resolved_by": record.get("approval_by", ""),
        "resolved_at": int(record["approval_at"]),
        "was_approved": record.get("approval_decision") == "approve",
    }


def _document(request: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(request)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
