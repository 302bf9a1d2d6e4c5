"""Workers, from the registry snapshot the schedulers write (gateway spec §17)."""

from typing import Any

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import NotFound
from cordum.gateway.api import Api
from cordum.gateway.fleet import known_workers
from cordum.gateway.http import json_reply, limit_of
from cordum.gateway.state import Gateway
from cordum.gateway.views import job_record
from cordum.security.principal import Caller
from cordum.store import keys

__all__ = ["add_worker_routes"]


def add_worker_routes(api: Api) -> None:
    """Register the routes."""
    api.add("GET", "/workers", "workers.read", list_all, summary="List workers")
    api.add("GET", "/workers/{worker_id}", "workers.read", show, summary="Show a worker")
    api.add(
        "POST",
        "/workers/{worker_id}/revoke-session",
        "workers.write",
        revoke_session,
        summary="End the session of a worker",
    )
    api.add(
        "GET",
        "/workers/{worker_id}/jobs",
        "workers.read",
        jobs,
        summary="Newest jobs of a worker",
        query={"limit": "entries, 20"},
    )


async def list_all(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """List every known worker."""
    return json_reply({"items": await known_workers(gateway.workers, gateway.sessions)})


async def _find(gateway: Gateway, worker_id: str) -> dict[str, Any]:
    for entry in await known_workers(gateway.workers, gateway.sessions):
        if entry["worker_id"] == worker_id:
            return entry
    raise NotFound("worker not found", code="WORKER_NOT_FOUND")


async def show(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """Show one worker."""
    return json_reply(await _find(gateway, request.path_params["worker_id"]))


async def revoke_session(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """End the live session of a worker of the caller's tenant; its packets stop counting within a second."""
    ended = await gateway.credentials.end_session(request.path_params["worker_id"], caller)
    if ended is None:
        raise NotFound("worker has no live session", code="WORKER_SESSION_INVALID")
    return json_reply(
        {"worker_id": request.path_params["worker_id"], "tenant": ended.tenant, "revoked": True}
    )


async def jobs(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show the newest jobs of a worker that the caller may see."""
    worker_id = request.path_params["worker_id"]
    limit = limit_of(request, 20, 100)
    ids = await gateway.redis.execute("ZREVRANGE", keys.worker_jobs(worker_id), 0, 999)
    if not ids:
        await _find(gateway, worker_id)
    shown: list[dict[str, Any]] = []
    for start in range(0, len(ids), 100):
        for record in await gateway.jobs.get_many([job_id.decode() for job_id in ids[start : start + 100]]):
            if record is not None and (caller.cross_tenant or record.get("tenant") == caller.tenant):
                shown.append(job_record(record))
        if len(shown) >= limit:
            break
    return json_reply({"items": shown[:limit]})
