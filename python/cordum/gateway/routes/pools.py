"""Pools of workers (gateway spec §19)."""

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import NotFound
from cordum.gateway.api import Api
from cordum.gateway.fleet import Fleet
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.routing import Routing
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller

__all__ = ["add_pool_routes"]

_BODY_BYTES: Final = 64 * 1024
_TEXTS: Final = {"type": "array", "items": {"type": "string", "maxLength": 128}, "maxItems": 100}
_FIELDS: Final[dict[str, Any]] = {"requires": _TEXTS, "description": {"type": "string"}}
_STATUS: Final = {"enum": ["active", "draining", "inactive"]}
_TIMEOUT: Final = {"type": "integer", "minimum": 0, "maximum": 3600}
_TRUE: Final = frozenset({"true", "1"})


def add_pool_routes(api: Api) -> None:
    """Register the routes."""
    path, write = "/pools/{name}", "pools.write"

    def body(properties: dict[str, Any]) -> dict[str, Any]:
        return {"body": {"type": "object", "properties": properties}, "body_required": False}

    api.add("GET", "/pools", "workers.read", list_all, summary="List pools")
    api.add("GET", path, "workers.read", show, summary="Show a pool")
    api.add("PUT", path, write, create, summary="Create a pool", success=201, **body(_FIELDS))
    api.add("PATCH", path, write, update, summary="Change a pool", **body({**_FIELDS, "status": _STATUS}))
    api.add(
        "DELETE",
        path,
        write,
        delete,
        summary="Delete a pool",
        success=204,
        query={"force": "`true`: an inactive pool goes although something uses it"},
    )
    drain_body = body({"timeout_seconds": _TIMEOUT})
    api.add("POST", f"{path}/drain", write, drain, summary="Give a pool no new jobs", **drain_body)
    for method, handler, summary in (
        ("PUT", map_topic, "Let a pool serve a topic"),
        ("DELETE", unmap_topic, "Let a pool serve a topic no more"),
    ):
        api.add(method, f"{path}/topics/{{topic}}", write, handler, summary=summary, success=204)


def _item(name: str, routing: Routing, fleet: Fleet) -> dict[str, Any]:
    entry = routing.pools[name]
    return {
        "name": name,
        **fleet.load(name),
        "status": entry.get("status") or "active",
        "description": entry.get("description") or "",
        "requires": list(entry.get("requires") or ()),
    }


async def list_all(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """List every pool with its load."""
    routing, fleet = await gateway.pools.view()
    items = [
        _item(name, routing, fleet) | {"workers": len(fleet.workers_of(name))}
        for name in sorted(routing.pools)
    ]
    return json_reply({"items": items})


async def show(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """Show one pool with its workers and topics."""
    name = request.path_params["name"]
    routing, fleet = await gateway.pools.view()
    if name not in routing.pools:
        raise NotFound(f"pool `{name[:128]}` not found", code="POOL_NOT_FOUND")
    workers = fleet.workers_of(name)
    return json_reply(
        _item(name, routing, fleet)
        | {
            "workers": workers,
            "worker_list": workers,
            "worker_count": len(workers),
            "topics": routing.topics_of(name),
            "captured_at": fleet.captured_at,
        }
    )


async def create(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Create a pool."""
    body = await json_object(request, _BODY_BYTES)
    return json_reply(await gateway.pools.create(request.path_params["name"], body, caller), 201)


async def update(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Change a pool."""
    body = await json_object(request, _BODY_BYTES)
    return json_reply(await gateway.pools.update(request.path_params["name"], body, caller))


async def delete(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete a pool."""
    force = request.query_params.get("force", "").lower() in _TRUE
    await gateway.pools.delete(request.path_params["name"], caller, force=force)
    return Response(status_code=204)


async def drain(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Drain a pool."""
    body = await json_object(request, _BODY_BYTES)
    return json_reply(await gateway.pools.drain(request.path_params["name"], body, caller))


async def map_topic(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Let a pool serve a topic."""
    path = request.path_params
    await gateway.pools.map_topic(path["name"], path["topic"], caller)
    return Response(status_code=204)


async def unmap_topic(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Let a pool serve a topic no more."""
    path = request.path_params
    await gateway.pools.unmap_topic(path["name"], path["topic"], caller)
    return Response(status_code=204)
