"""The dead-letter queue (gateway spec §16)."""

from fastapi import Request
from starlette.responses import Response

from cordum.gateway.api import Api
from cordum.gateway.http import cursor_of, json_reply, limit_of, new_job_reply, page_reply
from cordum.gateway.state import Gateway
from cordum.gateway.views import dead_letter
from cordum.security.principal import Caller

__all__ = ["add_dlq_routes"]


def add_dlq_routes(api: Api) -> None:
    """Register the routes."""
    limit = {"limit": "entries, 100"}
    api.add("GET", "/dlq", "dlq.read", list_all, summary="List dead letters, newest first", query=limit)
    page_query = {**limit, "cursor": "time (s) of the next page"}
    api.add("GET", "/dlq/page", "dlq.read", list_page, summary="Page through dead letters", query=page_query)
    api.add("GET", "/dlq/{job_id}", "dlq.read", show, summary="Show a dead letter")
    api.add("POST", "/dlq/{job_id}/retry", "dlq.write", retry, summary="Run a dead job again as a new one")
    api.add("DELETE", "/dlq/{job_id}", "dlq.write", delete, summary="Delete a dead letter", success=204)


async def list_all(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List the newest dead letters of the tenant."""
    entries, _ = await gateway.letters.page(caller.tenant, limit=limit_of(request, 100))
    return json_reply({"items": [dead_letter(entry) for entry in entries]})


async def list_page(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Page through the dead letters of the tenant."""
    entries, next_cursor = await gateway.letters.page(
        caller.tenant, limit=limit_of(request, 100), cursor=cursor_of(request)
    )
    return page_reply(request, [dead_letter(entry) for entry in entries], next_cursor)


async def show(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show one dead letter."""
    return json_reply(dead_letter(await gateway.actions.dead_letter(caller, request.path_params["job_id"])))


async def retry(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Run a dead job again; policy judges it afresh."""
    new_id, outcome = await gateway.actions.retry(caller, request.path_params["job_id"])
    return new_job_reply(request, outcome, {"job_id": new_id})


async def delete(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete a dead letter."""
    entry = await gateway.actions.dead_letter(caller, request.path_params["job_id"])
    await gateway.letters.delete(str(entry["job_id"]))
    return Response(status_code=204)
