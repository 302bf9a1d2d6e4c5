"""Approvals (gateway spec §15)."""

from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.approval_items import PolicyInForce, approval_item
from cordum.gateway.approval_texts import INPUT_BYTES
from cordum.gateway.decision_audit import approval_event
from cordum.gateway.http import cursor_of, json_object, json_reply, limit_of, page_reply
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller
from cordum.store import keys
from cordum.store.job_list import JobQuery, list_jobs
from cordum.store.jobs import Record

__all__ = ["add_approval_routes"]

_LOOKED_AT_MAX: Final = 5_000
"""Jobs one page looks at: a history in which few were held is walked in several requests, by its cursors."""
_DECISION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "note": {"type": "string"}},
}
_REPAIR: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"apply": {"type": "boolean", "default": False}, "note": {"type": "string"}},
}


def add_approval_routes(api: Api) -> None:
    """Register the routes."""
    query = {
        "limit": "page size, 100",
        "cursor": "updated_at (µs) of the next page",
        "include_resolved": "also show resolved approvals",
    }
    api.add("GET", "/approvals", "jobs.approve", list_page, summary="List approvals", query=query)
    for verb, handler in (("approve", approve), ("reject", reject)):
        api.add(
            "POST",
            f"/approvals/{{job_id}}/{verb}",
            "jobs.approve",
            handler,
            summary=f"{verb.capitalize()} a held job",
            body=_DECISION,
            body_required=False,
        )
    api.add(
        "POST",
        "/approvals/{job_id}/repair",
        "jobs.approve",
        repair,
        summary="Plan or perform the repair of an approval whose record and job disagree",
        body=_REPAIR,
        body_required=False,
    )
    api.add(
        "GET",
        "/approvals/{job_id}/context",
        "jobs.approve",
        context,
        summary="Show what helps to decide about a held job",
    )


async def list_page(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List held jobs; with `include_resolved` every job that was held, newest first."""
    resolved = request.query_params.get("include_resolved", "").lower() in {"1", "true"}
    page, next_cursor = await list_jobs(
        gateway.jobs,
        JobQuery(
            tenant=caller.tenant,
            state=None if resolved else "APPROVAL_REQUIRED",
            limit=limit_of(request, 100),
            cursor=cursor_of(request),
            was_held=True,
            looked_at_max=_LOOKED_AT_MAX,
        ),
    )
    return page_reply(request, await _items(gateway, page), next_cursor)


async def _items(gateway: Gateway, records: list[Record]) -> list[dict[str, Any]]:
    ids = [record["id"] for record in records]
    requests = await gateway.jobs.requests(ids)
    heads = await gateway.blobs.heads([keys.context_blob(job_id) for job_id in ids], INPUT_BYTES)
    policy = await gateway.approval_repairs.policy_in_force() if records else PolicyInForce()
    return [
        approval_item(record, orjson.loads(raw) if raw else {}, head, policy)
        for record, raw, head in zip(records, requests, heads, strict=True)
    ]


async def approve(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Release a held job."""
    reason, note = await _words(gateway, request)
    job_id = request.path_params["job_id"]
    answer = await gateway.approvals.approve(caller, job_id, reason, note)
    await gateway.audit_writer.record(approval_event("approve", caller, job_id, reason))
    return json_reply(answer)


async def reject(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Deny a held job."""
    reason, note = await _words(gateway, request)
    job_id = request.path_params["job_id"]
    answer = await gateway.approvals.reject(caller, job_id, reason, note)
    await gateway.audit_writer.record(approval_event("reject", caller, job_id, reason))
    return json_reply(answer)


async def repair(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Plan the repair of an approval; with `apply` perform it."""
    body = await json_object(request, gateway.settings.max_json_body_bytes)
    apply, note = body.get("apply") or False, body.get("note") or ""
    if not isinstance(apply, bool) or not isinstance(note, str):
        raise InvalidInput("apply must be a boolean, note a string", code="approval_bad_request")
    job_id = request.path_params["job_id"]
    answer = await gateway.approval_repairs.repair(caller, job_id, apply=apply, note=note)
    if answer["applied"]:
        await gateway.audit_writer.record(approval_event("repair", caller, job_id, note))
    return json_reply(answer)


async def context(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show what helps to decide about a held job."""
    return json_reply(await gateway.approval_repairs.context(caller, request.path_params["job_id"]))


async def _words(gateway: Gateway, request: Request) -> tuple[str, str]:
    body = await json_object(request, gateway.settings.max_json_body_bytes)
    reason, note = body.get("reason") or "", body.get("note") or ""
    if not isinstance(reason, str) or not isinstance(note, str):
        raise InvalidInput("reason and note must be strings", code="approval_bad_request")
    return reason, note
