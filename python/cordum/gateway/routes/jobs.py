"""Jobs and traces (gateway spec §14)."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cordum._core import split_jobs
from cordum.bus.messages import trace_context
from cordum.domain.errors import CordumError, Forbidden, InvalidInput, NotFound, TooLarge
from cordum.domain.states import JobState
from cordum.gateway.api import PREFIX, Api, require
from cordum.gateway.http import (
    cursor_of,
    idempotency_header,
    json_object,
    json_reply,
    limit_of,
    new_job_reply,
    page_reply,
    read_body,
    time_of,
)
from cordum.gateway.quarantine import read_event, readable_result
from cordum.gateway.state import Gateway
from cordum.gateway.submit import Item, Outcome
from cordum.gateway.views import decision_entry, job_detail, job_record
from cordum.runtime.ids import new_id
from cordum.security.permissions import is_allowed
from cordum.security.principal import Caller
from cordum.store.job_list import JobQuery, list_jobs
from cordum.store.jobs import Record

__all__ = ["SUBMIT_PATH", "SUBMIT_SCHEMA", "SubmitRoute", "add_job_routes", "tenant_of"]

BATCH_MAX: Final = 500
_SMALL_BODY_BYTES: Final = 64 * 1024
_NAME_MAX: Final = 512
SUBMIT_PATH: Final = f"{PREFIX}/jobs"
_JSON_HEADERS: Final = [(b"content-type", b"application/json; charset=utf-8")]
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_COUNT: Final = {"type": "integer", "minimum": 0}
_WORDS: Final = (
    *("adapter_id", "context_mode", "memory_id", "tenant_id", "org_id", "team_id", "project_id"),
    *("principal_id", "actor_id", "idempotency_key", "pack_id", "capability"),
    *("delegation_token", "delegation_audience_agent_id"),
)
SUBMIT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "minLength": 1},
        "topic": {"type": "string", "maxLength": 256, "default": "job.default"},
        "priority": {
            "type": "string",
            "enum": ["batch", "interactive", "critical"],
            "default": "interactive",
        },
        "context": {},
        "labels": {"type": "object", "additionalProperties": _TEXT, "maxProperties": 50},
        "actor_type": {"type": "string", "enum": ["human", "service"]},
        **dict.fromkeys(("risk_tags", "requires", "tags"), _TEXTS),
        **dict.fromkeys(("max_input_tokens", "max_output_tokens", "max_total_tokens", "deadline_ms"), _COUNT),
        **{name: {"type": "boolean"} for name in ("allow_summarization", "allow_retrieval")},
        **dict.fromkeys(
            (
                "adapter_id",
                "context_mode",
                "memory_id",
                "tenant_id",
                "org_id",
                "team_id",
                "project_id",
                "principal_id",
                "actor_id",
                "idempotency_key",
                "pack_id",
                "capability",
                "delegation_token",
                "delegation_audience_agent_id",
            ),
            _TEXT,
        ),
    },
}


def add_job_routes(api: Api) -> None:
    """Register the routes; the submit route is served by `SubmitRoute`, its entry here documents it."""
    api.add("POST", "/jobs", "jobs.write", _documented, summary="Submit a job", body=SUBMIT_SCHEMA)
    jobs_schema = {
        "type": "object",
        "required": ["jobs"],
        "properties": {
            "jobs": {"type": "array", "items": SUBMIT_SCHEMA, "minItems": 1, "maxItems": BATCH_MAX}
        },
    }
    api.add("POST", "/jobs/batch", "jobs.write", submit_batch, summary="Submit many jobs", body=jobs_schema)
    filters = {
        "limit": "page size, 50",
        "cursor": "updated_at (µs) of the next page",
        "state": "job state",
        "topic": "exact topic",
        "tenant": "tenant, for cross-tenant keys",
        "team": "team",
        "trace_id": "trace",
        "updated_after": "time, integer or RFC 3339",
        "updated_before": "time, integer or RFC 3339",
    }
    api.add("GET", "/jobs", "jobs.read", list_page, summary="List jobs, newest first", query=filters)
    api.add("GET", "/jobs/{job_id}", "jobs.read", detail, summary="Show a job")
    api.add(
        "GET",
        "/jobs/{job_id}/decisions",
        "jobs.read",
        decisions,
        summary="Policy decisions about a job, newest first",
        query={"limit": "entries, 50"},
    )
    api.add("POST", "/jobs/{job_id}/cancel", "jobs.write", cancel, summary="Cancel a job")
    api.add(
        "POST",
        "/jobs/{job_id}/remediate",
        "jobs.write",
        remediate,
        summary="Submit a job again as policy offered it",
        body={"type": "object", "properties": {"remediation_id": {"type": "string"}}},
        body_required=False,
    )
    api.add("GET", "/traces/{trace_id}", "jobs.read", trace, summary="Jobs of a trace in submission order")


async def _documented(_gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    raise NotFound("not found")


class SubmitRoute:
    """`POST /jobs`, the hot route, as a plain ASGI endpoint."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._limit_bytes = gateway.settings.max_job_payload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["cordum.route"] = SUBMIT_PATH
        caller: Caller = scope["caller"]
        require(caller, "jobs.write")
        headers = scope["cordum.headers"]
        body = await read_body(headers, receive, self._limit_bytes)
        outcome = await self._gateway.submitter.submit(
            _item(caller, body, idempotency_header(scope, headers)), _trace(headers)
        )
        status, answer = outcome.status, outcome.body
        raw_headers = [*_JSON_HEADERS]
        if outcome.trace_id:
            raw_headers.append((b"x-trace-id", outcome.trace_id.encode()))
        if outcome.retry_after_s:
            raw_headers.append((b"retry-after", str(outcome.retry_after_s).encode()))
        if status != 200:
            answer = answer[:-1] + b',"request_id":"' + scope["cordum.request_id"].encode() + b'"}'
        raw_headers.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw_headers})
        await send({"type": "http.response.body", "body": answer})


def _trace(headers: Mapping[bytes, bytes]) -> dict[str, str] | None:
    """Return the W3C trace headers of a request, to go on with its jobs (gateway spec §38)."""
    parent = headers.get(b"traceparent")
    if not parent:
        return None
    return trace_context(parent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))


def _item(caller: Caller, body: bytes, key: str) -> Item:
    facts = (
        caller.tenant,
        caller.effective_principal,
        caller.names_itself,
        caller.fingerprint,
        caller.cross_tenant,
        caller.principal,
        is_allowed(caller.role, "delegation.impersonate"),
    )
    # A trace is named after its first job.
    job_id = new_id()
    return body, facts, job_id, job_id, key


async def submit_batch(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Submit many jobs; each is judged, stored and published on its own."""
    limit = gateway.settings.max_job_payload_bytes
    body = await read_body(request.scope["cordum.headers"], request.receive, limit)
    try:
        bodies = split_jobs(body, BATCH_MAX)
    except ValueError as error:
        raise _refused(error) from error
    items = [_item(caller, item, "") for item in bodies]
    outcomes = await gateway.submitter.submit_many(items, _trace(request.scope["cordum.headers"]))
    results = b",".join(_batch_result(outcome) for outcome in outcomes)
    return Response(b'{"results":[' + results + b"]}", 200, media_type="application/json; charset=utf-8")


def _refused(error: ValueError) -> CordumError:
    status, body = error.args
    answer = orjson.loads(bytes(body))
    kind = TooLarge if status == 413 else InvalidInput
    return kind(answer["error"], code=answer["code"], field=answer.get("field"))


def _batch_result(outcome: Outcome) -> bytes:
    return b'{"http_status":' + str(outcome.status).encode() + b"," + outcome.body[1:]


async def list_page(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List jobs with filters."""
    query = request.query_params
    state = query.get("state") or None
    if state is not None:
        state = state.upper()
        if state not in JobState.__members__:
            raise InvalidInput("unknown state", field="state")
    page, next_cursor = await list_jobs(
        gateway.jobs,
        JobQuery(
            tenant=tenant_of(caller, query.get("tenant", "")),
            state=state,
            topic=query.get("topic") or None,
            team=query.get("team") or None,
            trace_id=query.get("trace_id") or None,
            after_us=time_of(request, "updated_after"),
            before_us=time_of(request, "updated_before"),
            limit=limit_of(request, 50),
            cursor=cursor_of(request),
        ),
    )
    return page_reply(request, [job_record(record) for record in page], next_cursor)


def tenant_of(caller: Caller, named: str) -> str:
    """Return the tenant a listing is for. Raises Forbidden for a foreign one."""
    if named and named != caller.tenant and not caller.cross_tenant:
        raise Forbidden("tenant access denied", code="tenant_access_denied")
    return named or caller.tenant


async def detail(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show one job with its payloads."""
    record = await gateway.actions.find(caller, request.path_params["job_id"])
    job_id = record["id"]
    raw = await gateway.jobs.request(job_id)
    stored: dict[str, Any] = orjson.loads(raw) if raw else {}
    context, result = await _payloads(gateway, caller, record, stored)
    letter = None
    if record.get("state") in {"FAILED", "TIMEOUT", "OUTPUT_QUARANTINED"}:
        letter = await gateway.letters.get(job_id)
    return json_reply(job_detail(record, stored, context=context, result=result, letter=letter))


async def _payloads(
    gateway: Gateway, caller: Caller, record: Record, stored: dict[str, Any]
) -> tuple[bytes | None, bytes | None]:
    """Return context and result; a quarantined result only to those who handle quarantine, which is audited."""
    job_id = record["id"]
    wanted: list[str] = []
    has_context = stored.get("contextPtr") == f"redis://ctx:{job_id}"
    if has_context:
        wanted.append(f"ctx:{job_id}")
    key, is_audited = readable_result(caller, record)
    if key is not None:
        wanted.append(key)
    if is_audited:
        await gateway.audit_writer.record(read_event(caller, record))
    found = await gateway.blobs.get_many(wanted)
    return (found[0] if has_context else None), (found[-1] if key is not None else None)


async def decisions(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show the policy decisions about a job: a bare list."""
    record = await gateway.actions.find(caller, request.path_params["job_id"])
    entries = await gateway.jobs.decisions(record["id"])
    return json_reply([decision_entry(entry) for entry in entries[: limit_of(request, 50)]])


async def cancel(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Cancel a job; a plain user only its own."""
    record = await gateway.actions.find(caller, request.path_params["job_id"])
    if caller.role == "user" and record.get("principal") != caller.effective_principal:
        raise Forbidden("access denied", code="access_denied")
    state = await gateway.actions.cancel(record)
    body = {"id": record["id"], "state": state}
    if state != "CANCELLED" or record.get("state") == "CANCELLED":
        body["reason"] = "job already terminal"
    return json_reply(body)


async def remediate(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Submit a job again with the changes policy offered; a plain user only its own. Policy judges it afresh."""
    record = await gateway.actions.find(caller, request.path_params["job_id"])
    if caller.role == "user" and record.get("principal") != caller.effective_principal:
        raise Forbidden("access denied", code="access_denied")
    body = await json_object(request, _SMALL_BODY_BYTES)
    names = {}
    for name in ("remediation_id", "idempotency_key"):
        names[name] = body.get(name) or ""
        if not isinstance(names[name], str) or len(names[name]) > _NAME_MAX:
            raise InvalidInput(f"{name}: expected a text of at most {_NAME_MAX} characters", field=name)
    key = names["idempotency_key"] or idempotency_header(request.scope, request.scope["cordum.headers"])
    outcome = await gateway.actions.remediate(caller, record, names["remediation_id"], key)
    answer = orjson.loads(outcome.body)
    kept = {name: answer[name] for name in ("job_id", "trace_id", "status") if name in answer}
    return new_job_reply(request, outcome, kept)


async def trace(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show the jobs of a trace the caller may see: a bare list."""
    records = await gateway.jobs.trace(request.path_params["trace_id"])
    seen = [record for record in records if caller.cross_tenant or record.get("tenant") == caller.tenant]
    if not seen:
        raise NotFound("trace not found", code="trace_not_found")
    return json_reply([job_record(record) for record in seen])
