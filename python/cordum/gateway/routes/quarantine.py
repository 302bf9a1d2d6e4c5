"""Review of quarantined outputs without running their jobs again (output policy spec §9.2)."""

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import Conflict, InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.http import cursor_of, json_object, json_reply, limit_of, page_reply
from cordum.gateway.quarantine import Review, evidence_key, output_record, quarantine_item
from cordum.gateway.routes.jobs import tenant_of
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller
from cordum.store.job_list import JobQuery, list_jobs

__all__ = ["add_quarantine_routes"]

_BODY_BYTES: Final = 64 * 1024
_REASON_MAX: Final = 2_000
_REASON: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": _REASON_MAX}
_MODES: Final = ("original", "redacted")


def add_quarantine_routes(api: Api) -> None:
    """Register the routes."""
    query = {
        "tenant": "tenant, for cross-tenant keys",
        "severity": "some finding of this severity",
        "rule_id": "exact rule",
        "limit": "page size, 50",
        "cursor": "updated_at (µs) of the next page",
    }
    api.add("GET", "/quarantine", "dlq.read", list_held, summary="List quarantined outputs", query=query)
    release_body: dict[str, Any] = {
        "type": "object",
        "required": ["reason"],
        "properties": {"reason": _REASON, "mode": {"type": "string", "enum": list(_MODES)}},
    }
    api.add(
        "POST",
        "/quarantine/{job_id}/release",
        "dlq.write",
        release,
        summary="Make a quarantined output readable",
        body=release_body,
    )
    confirm_body = {"type": "object", "required": ["reason"], "properties": {"reason": _REASON}}
    api.add(
        "POST",
        "/quarantine/{job_id}/confirm",
        "dlq.write",
        confirm,
        summary="Confirm that an output stays quarantined",
        body=confirm_body,
    )


async def list_held(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List quarantined outputs, newest first."""
    query = request.query_params
    page, next_cursor = await list_jobs(
        gateway.jobs,
        JobQuery(
            tenant=tenant_of(caller, query.get("tenant", "")),
            state="OUTPUT_QUARANTINED",
            limit=limit_of(request, 50),
            cursor=cursor_of(request),
        ),
    )
    kept = await gateway.redis.pipeline([("EXISTS", evidence_key(record)) for record in page])
    items = [
        # What the store does not tell is held.
        quarantine_item(record, is_kept=found != 0)
        for record, found in zip(page, kept, strict=True)
    ]
    severity, rule_id = query.get("severity", "").lower(), query.get("rule_id", "").lower()
    if severity:
        items = [item for item in items if any(one.get("severity") == severity for one in item["findings"])]
    if rule_id:
        items = [item for item in items if str(item.get("rule_id", "")).lower() == rule_id]
    return page_reply(request, items, next_cursor)


async def release(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Make the output readable again; the job's state stays."""
    record = await gateway.actions.find(caller, request.path_params["job_id"])
    body = await json_object(request, _BODY_BYTES)
    mode = body.get("mode") or "original"
    if mode not in _MODES:
        raise InvalidInput("mode: expected `original` or `redacted`", field="mode")
    if not await gateway.redis.execute("EXISTS", evidence_key(record)):
        raise Conflict("the output is not kept any more", code="output_not_held")
    pointer = str(output_record(record).get("redacted_ptr", "")) if mode == "redacted" else ""
    if mode == "redacted" and not pointer:
        raise Conflict("there is no masked copy of this output", code="output_not_held")
    await gateway.quarantine.review(caller, record, "released", _reason(body), pointer)
    shown = pointer or record.get("result_ptr", "")
    return json_reply({"job_id": record["id"], "status": "released", "result_ptr": shown})


async def confirm(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Confirm the quarantine; nobody can release the output any more."""
    record = await gateway.actions.find(caller, request.path_params["job_id"])
    word: Review = "confirmed"
    await gateway.quarantine.review(caller, record, word, _reason(await json_object(request, _BODY_BYTES)))
    return json_reply({"job_id": record["id"], "status": word})


def _reason(body: dict[str, Any]) -> str:
    reason = body.get("reason")
    if not isinstance(reason, str) or not 1 <= len(reason.strip()) <= _REASON_MAX:
        raise InvalidInput(f"reason: expected 1 to {_REASON_MAX} characters", field="reason")
    return reason.strip()
