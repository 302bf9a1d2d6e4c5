"""The dead-letter queue (gateway spec §16)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import Conflict, CordumError, InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.http import (
    cursor_of,
    idempotency_key,
    json_object,
    json_reply,
    limit_of,
    new_job_reply,
    page_reply,
)
from cordum.gateway.state import Gateway
from cordum.gateway.views import dead_letter
from cordum.security.principal import Caller

__all__ = ["add_dlq_routes"]

_MANY_MAX: Final = 500
_PARALLEL: Final = 32
_MANY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["job_ids"],
    "properties": {
        "job_ids": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _MANY_MAX}
    },
}


def add_dlq_routes(api: Api) -> None:
    """Register the routes."""
    limit = {"limit": "entries, 100"}
    api.add("GET", "/dlq", "dlq.read", list_all, summary="List dead letters, newest first", query=limit)
    page_query = {**limit, "cursor": "time (s) of the next page"}
    api.add("GET", "/dlq/page", "dlq.read", list_page, summary="Page through dead letters", query=page_query)
    api.add("GET", "/dlq/{job_id}", "dlq.read", show, summary="Show a dead letter")
    api.add("POST", "/dlq/{job_id}/retry", "dlq.write", retry, summary="Run a dead job again as a new one")
    for verb, handler in (("retry", retry_many), ("delete", delete_many)):
        api.add(
            "POST", f"/dlq/{verb}", "dlq.write", handler, summary=f"{verb.capitalize()} dead jobs", body=_MANY
        )
    api.add("DELETE", "/dlq/{job_id}", "dlq.write", delete, summary="Delete a dead letter", success=204)


async def list_all(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List the newest dead letters of the tenant."""
    entries, _ = await gateway.letters.page(caller.tenant, limit=limit_of(request, 100))
    return json_reply({"items": _shown(caller, entries)})


async def list_page(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Page through the dead letters of the tenant."""
    entries, next_cursor = await gateway.letters.page(
        caller.tenant, limit=limit_of(request, 100), cursor=cursor_of(request)
    )
    return page_reply(request, _shown(caller, entries), next_cursor)


async def show(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show one dead letter."""
    entry = await gateway.actions.dead_letter(caller, request.path_params["job_id"])
    return json_reply(_shown(caller, [entry])[0])


def _shown(caller: Caller, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dead_letter(entry, with_raw=caller.cross_tenant) for entry in entries]


async def retry(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Run a dead job again; policy judges it afresh."""
    key = await idempotency_key(request, gateway.settings.max_json_body_bytes)
    new_id, outcome = await gateway.actions.retry(caller, request.path_params["job_id"], key)
    return new_job_reply(request, outcome, {"job_id": new_id})


async def delete(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete a dead letter."""
    entry = await gateway.actions.dead_letter(caller, request.path_params["job_id"])
    await gateway.letters.delete(str(entry["job_id"]))
    return Response(status_code=204)


async def retry_many(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Run dead jobs again, each judged afresh; one that fails does not keep the others."""

    async def one(job_id: str) -> None:
        _, outcome = await gateway.actions.retry(caller, job_id)
        if outcome.status != 200:
            raise Conflict(str(orjson.loads(outcome.body).get("error", "not taken")))

    return await _each(gateway, request, one)


async def delete_many(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete dead letters."""

    async def one(job_id: str) -> None:
        entry = await gateway.actions.dead_letter(caller, job_id)
        await gateway.letters.delete(str(entry["job_id"]))

    return await _each(gateway, request, one)


async def _each(gateway: Gateway, request: Request, one: Callable[[str], Awaitable[None]]) -> Response:
    """Do one thing to each of the named entries, a few at a time, and tell how each went."""
    body = await json_object(request, gateway.settings.max_json_body_bytes)
    ids = body.get("job_ids")
    if (
        not isinstance(ids, list)
        or not 1 <= len(ids) <= _MANY_MAX
        or not all(isinstance(i, str) for i in ids)
    ):
        raise InvalidInput(f"job_ids: expected 1 to {_MANY_MAX} job ids", field="job_ids")
    results: dict[str, dict[str, object]] = {}
    slots = asyncio.Semaphore(_PARALLEL)

    async def guarded(job_id: str) -> None:
        async with slots:
            try:
                await one(job_id)
            except CordumError as error:
                results[job_id] = {"job_id": job_id, "ok": False, "error": error.message}
            else:
                results[job_id] = {"job_id": job_id, "ok": True}

    names = list(dict.fromkeys(ids))
    async with asyncio.TaskGroup() as group:
        for job_id in names:
            group.create_task(guarded(job_id))
    return json_reply({"results": [results[job_id] for job_id in names]})
