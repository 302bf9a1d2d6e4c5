"""Schemas of payloads (gateway spec §20, packs spec §6)."""

from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from cordum.audit import AuditEvent
from cordum.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cordum.domain.topics import registered
from cordum.gateway.api import Api
from cordum.gateway.document_edits import announce
from cordum.gateway.http import json_object, json_reply, limit_of
from cordum.gateway.state import Gateway
from cordum.runtime.clock import now_us
from cordum.security.principal import Caller
from cordum.store.boundary import compile_schema
from cordum.store.schemas import SCHEMAS_MAX, SchemaStore
from cordum.store.topics import TOPICS

__all__ = ["add_schema_routes"]

_BODY_BYTES: Final = 2 * 1024 * 1024
_ID_MAX: Final = 256
_CODE: Final = "CONFIG_SCHEMA_VIOLATION"
_UPGRADE_URL: Final = "https://cordum.io/pricing"
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "schema"],
    "properties": {"id": {"type": "string", "maxLength": _ID_MAX}, "schema": {"type": "object"}},
}


def add_schema_routes(api: Api) -> None:
    """Register the routes."""
    path = "/schemas/{schema_id:path}"
    api.add(
        "GET",
        "/schemas",
        "schemas.read",
        list_all,
        summary="List schema ids, newest first",
        query={"limit": "entries, 100"},
    )
    api.add(
        "POST", "/schemas", "schemas.write", register, summary="Register a schema", body=_BODY, success=204
    )
    api.add("GET", path, "schemas.read", show, summary="Show a schema")
    api.add("DELETE", path, "schemas.write", delete, summary="Delete a schema", success=204)


async def list_all(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """List ids."""
    return json_reply({"schemas": await SchemaStore(gateway.redis).newest(limit_of(request, 100))})


async def show(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """Show one schema."""
    schema_id = request.path_params["schema_id"]
    text = await SchemaStore(gateway.redis).get(schema_id)
    if text is None:
        raise _not_found()
    return json_reply({"id": schema_id, "schema": orjson.Fragment(text)})


async def register(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Store or replace a schema."""
    body = await json_object(request, _BODY_BYTES)
    schema_id, schema = body.get("id"), body.get("schema")
    if not isinstance(schema_id, str) or not _is_id(schema_id):
        raise InvalidInput(f"id: expected 1 to {_ID_MAX} characters without blanks", code=_CODE, field="id")
    if not isinstance(schema, dict):
        raise InvalidInput("schema: expected an object", code=_CODE, field="schema")
    store, text = SchemaStore(gateway.redis), orjson.dumps(schema)
    try:
        await compile_schema(store, text)
    except ValueError as error:
        kind, detail = error.args
        detail = f"reference to `{detail}`, which is not registered" if kind == "missing" else detail
        raise InvalidInput(f"schema is not valid: {detail}", code=_CODE, field="schema") from error
    count = await store.count()
    if count >= SCHEMAS_MAX and await store.get(schema_id) is None:
        raise Forbidden(
            "tier_limit_exceeded",
            code="tier_limit_exceeded",
            details={
                "message": "schema limit reached",
                "limit": "max_schema_count",
                "current": count,
                "allowed": SCHEMAS_MAX,
                "upgrade_url": _UPGRADE_URL,
            },
        )
    await _record(gateway, caller, "schema.register", f"register schema {schema_id}")
    await store.put(schema_id, text, now_us=now_us())
    await _changed(gateway)
    return Response(status_code=204)


async def delete(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete a schema no topic refers to."""
    schema_id, store = request.path_params["schema_id"], SchemaStore(gateway.redis)
    if await store.get(schema_id) is None:
        raise _not_found()
    document = await gateway.edits.documents.get(*TOPICS)
    topics = registered(document.data if document else {})
    users = sorted({t.name for t in topics if schema_id in (t.input_schema_id, t.output_schema_id)})
    if users:
        raise Conflict(f"schema is used by topic `{users[0]}`", details={"topics": users[:20]})
    await _record(gateway, caller, "schema.delete", f"delete schema {schema_id}")
    await store.delete(schema_id)
    await _changed(gateway)
    return Response(status_code=204)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= _ID_MAX and text.isprintable() and not any(c.isspace() for c in text)


def _not_found() -> NotFound:
    return NotFound("schema not found", code="CONFIG_SCHEMA_NOT_FOUND")


async def _record(gateway: Gateway, caller: Caller, action: str, reason: str) -> None:
    """Write the event before the change: there is no change without it."""
    event = AuditEvent(
        "system.config",
        "MEDIUM",
        caller.tenant,
        action,
        identity=caller.effective_principal,
        reason=reason,
        extra={"role": caller.role},
    )
    await gateway.audit.append_fields(event.fields())


async def _changed(gateway: Gateway) -> None:
    gateway.boundary.drop()
    await announce(gateway.bus, ("system", "schemas"))
