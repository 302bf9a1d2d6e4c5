"""Configuration documents and what they amount to (configuration spec §5.4, §5.5)."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import InvalidInput, NotFound
from cordum.gateway.api import Api, require
from cordum.gateway.config_documents import SYSTEM_ID, ConfigWrite, name_of
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller

__all__ = ["add_config_routes"]

_BODY_BYTES: Final = 2 * 1024 * 1024
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "scope": {"type": "string"},
        "scope_id": {"type": "string"},
        "data": {"type": "object"},
        "meta": {"type": "object", "additionalProperties": {"type": "string"}},
        "revision": {"type": "integer"},
    },
}


def add_config_routes(api: Api) -> None:
    """Register the routes."""
    named = {"scope": "system, org, team, workflow or step", "scope_id": "id within the scope"}
    api.add(
        "GET",
        "/config",
        "config.read",
        show,
        summary="Show a configuration document",
        query={**named, "envelope": "`true`: with revision and meta"},
    )
    for method in ("PUT", "POST"):
        api.add(
            method,
            "/config",
            "config.write",
            write,
            summary="Write top-level keys of a configuration document",
            body=_BODY,
            success=204,
        )
    api.add(
        "GET",
        "/config/effective",
        "config.read",
        effective,
        summary="Show the documents of all scopes as one",
        query={"org_id": "tenant", "team_id": "team", "workflow_id": "workflow", "step_id": "step"},
    )


async def show(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show one document; an absent system document is empty, another one is not found."""
    query = request.query_params
    name = name_of(query.get("scope") or "system", query.get("scope_id", ""), caller)
    if name[0] == "system":
        require(caller, "config.write")
    document = await gateway.config.read(name, caller)
    if document is None and name != ("system", SYSTEM_ID):
        raise NotFound("config not found", code="CONFIG_NOT_FOUND")
    whole = query.get("envelope", "").lower() == "true"
    if document is None:
        empty = {"scope": name[0], "scope_id": name[1], "data": {}, "revision": 0}
        return json_reply(empty if whole else {})
    if not whole:
        return json_reply({key: part for key, part in document.data.items() if not key.startswith("_")})
    return json_reply(document)


async def write(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Write the document a body with `scope` names, else keys of the system document."""
    body = await json_object(request, _BODY_BYTES)
    if isinstance(body.get("scope"), str) and body["scope"]:
        name = name_of(body["scope"], body.get("scope_id") or "", caller)
        data, meta, revision = body.get("data"), body.get("meta"), body.get("revision")
    else:
        name, data, meta, revision = ("system", SYSTEM_ID), body, None, None
    if not isinstance(data, Mapping):
        raise InvalidInput("data: expected an object", code="CONFIG_REQUEST_INVALID", field="data")
    await gateway.config.write(
        name, ConfigWrite(data, _meta(meta), _revision(revision, request.headers.get("if-match", ""))), caller
    )
    return Response(status_code=204)


def _meta(value: object) -> dict[str, str]:
    """Texts a writer attaches; the owner is not theirs to say."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInput("meta: expected an object of texts", code="CONFIG_REQUEST_INVALID", field="meta")
    return {key: text for key, text in value.items() if key != "tenant" and not key.startswith("_")}


def _revision(value: object, if_match: str) -> int | None:
    if value is None and if_match:
        text = if_match.strip().strip('"')
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else if_match
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(
            "revision: expected a whole number", code="CONFIG_REQUEST_INVALID", field="revision"
        )
    return value


async def effective(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Show version, hash and data of a scope of the caller's tenant."""
    query = request.query_params
    _, tenant = name_of("org", query.get("org_id", ""), caller)
    scope = (tenant, query.get("team_id", ""), query.get("workflow_id", ""), query.get("step_id", ""))
    if any(len(part) > 256 for part in scope):
        raise InvalidInput("ids: expected at most 256 characters", code="CONFIG_REQUEST_INVALID")
    return json_reply((await gateway.configs.get(scope)).document)
