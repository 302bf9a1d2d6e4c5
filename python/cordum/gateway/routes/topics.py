"""Topics: list, register, unregister (gateway spec §18)."""

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.gateway.api import Api
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller

__all__ = ["add_topic_routes"]

_BODY_BYTES: Final = 128 * 1024
_TEXTS: Final = {"type": "array", "items": {"type": "string", "maxLength": 128}, "maxItems": 100}
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "pool": {"type": "string"},
        "input_schema_id": {"type": "string"},
        "output_schema_id": {"type": "string"},
        "pack_id": {"type": "string"},
        "requires": _TEXTS,
        "risk_tags": _TEXTS,
        "status": {"enum": ["active", "deprecated", "disabled"]},
        "risk_tag_deriver": {"type": "string"},
        "tenant_id": {"type": "string", "description": "cross-tenant callers only; blank: everybody's"},
    },
}


def add_topic_routes(api: Api) -> None:
    """Register the routes."""
    api.add("GET", "/topics", "topics.read", list_all, summary="List topics")
    api.add("POST", "/topics", "topics.write", register, summary="Register a topic", body=_BODY, success=201)
    api.add("DELETE", "/topics/{name}", "topics.write", unregister, summary="Unregister a topic", success=204)


async def list_all(gateway: Gateway, caller: Caller, _request: Request) -> Response:
    """List the registrations the caller sees."""
    listing = await gateway.topics.list(caller)
    return json_reply({"items": listing.items, "registry_empty": listing.is_empty})


async def register(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Register a topic, or replace its registration."""
    body = await json_object(request, _BODY_BYTES)
    record, is_new = await gateway.topics.register(body, caller)
    return json_reply(record, 201 if is_new else 200)


async def unregister(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Unregister a topic of the caller."""
    await gateway.topics.unregister(request.path_params["name"], caller)
    return Response(status_code=204)
