"""Policy bundles: list, write, validate, publish, roll back (policy spec §18)."""

import asyncio
from time import perf_counter
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum._core import policy_warnings, validate_policy
from cordum.domain.errors import InvalidInput
from cordum.domain.policy_problems import problem_json
from cordum.gateway.api import Api
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.policy_audit import Act
from cordum.gateway.policy_check import check_request, decision_json
from cordum.gateway.policy_rules import readable_bundles, rule_items
from cordum.gateway.routes.policy import add_config
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller
from cordum.store.policy_bundles import Bundle, parse_bundles

__all__ = ["add_bundle_routes"]

_BODY_BYTES: Final = 4 * 1024 * 1024
_GLOBAL_IDS: Final = frozenset(
    f"secops/{name}"
    for name in ("invariants", "global-input", "global-output", "global-edge-action", "global-mcp-tool")
)
_TIMES: Final = ("created_at", "updated_at", "installed_at")
_BUNDLE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["content"],
    "properties": {
        "content": {"type": "string"},
        "enabled": {"type": "boolean"},
        "author": {"type": "string"},
        "message": {"type": "string"},
    },
}


_SIMULATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["request"],
    "properties": {
        "request": {"type": "object", "required": ["topic"]},
        "content": {"type": "string"},
    },
}


def add_bundle_routes(api: Api) -> None:
    """Register the routes; snapshots come before the ids, which may hold slashes."""
    read, write = "policy.read", "policy.write"
    api.add("POST", "/policy/validate", read, validate, summary="Validate a policy document")
    one = {"bundle_id": "Id of one bundle; the same as naming it in the path"}
    api.add("GET", "/policy/bundles", read, list_all, summary="List policy bundles", query=one)
    api.add("PUT", "/policy/bundles", write, put, summary="Write a policy bundle", query=one, body=_BUNDLE)
    api.add(
        "DELETE", "/policy/bundles", write, delete, summary="Delete a policy bundle", query=one, success=204
    )
    api.add("GET", "/policy/bundles/snapshots", read, snapshots, summary="List bundle snapshots")
    api.add(
        "POST",
        "/policy/bundles/snapshots",
        write,
        capture,
        summary="Keep a bundle snapshot",
        body_required=False,
    )
    api.add(
        "GET", "/policy/bundles/snapshots/{snapshot_id}", read, snapshot, summary="Show a bundle snapshot"
    )
    api.add("GET", "/policy/bundles/{bundle_id:path}", read, show, summary="Show a policy bundle")
    api.add(
        "PUT", "/policy/bundles/{bundle_id:path}", write, put, summary="Write a policy bundle", body=_BUNDLE
    )
    api.add(
        "DELETE",
        "/policy/bundles/{bundle_id:path}",
        write,
        delete,
        summary="Delete a policy bundle",
        success=204,
    )
    api.add(
        "POST",
        "/policy/bundles/{bundle_id:path}/publish",
        write,
        publish_one,
        summary="Enable a policy bundle",
        body_required=False,
    )
    api.add(
        "POST",
        "/policy/bundles/{bundle_id:path}/simulate",
        read,
        simulate,
        summary="Say what would be decided with another content of a bundle",
        body=_SIMULATION,
    )
    api.add("POST", "/policy/publish", write, publish, summary="Enable policy bundles", body_required=False)
    api.add("POST", "/policy/rollback", write, rollback, summary="Go back to a bundle snapshot")


def _id_of(request: Request) -> str:
    """Return the id in the path or the query; `~` stands for `/`."""
    named = request.path_params.get("bundle_id") or request.query_params.get("bundle_id", "")
    bundle_id = str(named).replace("~", "/")
    if not bundle_id.strip("/"):
        raise InvalidInput("bundle id required", field="id")
    return bundle_id


def _refuse_global(bundle_id: str) -> None:
    if bundle_id in _GLOBAL_IDS:
        raise InvalidInput(
            "this bundle belongs to the global authority", field="id", hint="write it with PUT /policy/global"
        )


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected a text", field=name)
    return value


async def validate(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """Say what is wrong with one document; nothing is stored."""
    content = _text(await json_object(request, _BODY_BYTES), "content")
    if not content.strip():
        raise InvalidInput("content required", field="content")
    found = await asyncio.to_thread(lambda: validate_policy(content.encode(), gateway.scanners()))
    if not found and (warnings := await asyncio.to_thread(policy_warnings, content.encode())):
        return json_reply({"valid": True, "errors": [], "warnings": warnings})
    problems = [problem_json(*problem) for problem in found]
    return json_reply({"valid": not problems, "errors": problems})


async def list_all(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """List every stored bundle, or show the one the query names."""
    if "bundle_id" in request.query_params:
        return await show(gateway, caller, request)
    bundles, updated_at = await gateway.policies.read()
    parsed, errors = readable_bundles(bundles)
    fragments = await gateway.rules.read([bundle.content for bundle in parsed])
    body: dict[str, Any] = {
        "bundles": bundles,
        "items": [
            _item(bundle, len(fragment.entries)) for bundle, fragment in zip(parsed, fragments, strict=True)
        ],
    }
    if updated_at:
        body["updated_at"] = updated_at
    if errors:
        body["errors"] = errors
    return json_reply(body)


def _item(bundle: Bundle, rule_count: int) -> dict[str, Any]:
    name = bundle.id
    item = {
        "id": name,
        "enabled": bundle.enabled,
        "source": "secops" if name.startswith("secops/") else "pack" if "/" in name else "core",
        "author": bundle.author,
        "message": bundle.message,
        "version": bundle.version,
        "sha256": bundle.sha256,
        "rule_count": rule_count,
    }
    # Typed clients read every time that is there.
    return item | {key: getattr(bundle, key) for key in _TIMES if getattr(bundle, key)}


async def show(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """Show one bundle with its rules."""
    name = _id_of(request)
    bundle = parse_bundles({name: await gateway.policies.get(name)})[0]
    (fragment,) = await gateway.rules.read([bundle.content])
    rules = rule_items(bundle, fragment.entries)
    return json_reply({**_item(bundle, len(rules)), "content": bundle.content.decode(), "rules": rules})


async def put(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Write one bundle of the operators; the content is kept to the byte."""
    name = _id_of(request)
    if not name.startswith("secops/") or not 7 < len(name) <= 200:
        raise InvalidInput("bundle id must start with secops/", field="id")
    _refuse_global(name)
    body = await json_object(request, _BODY_BYTES)
    content = _text(body, "content")
    if not content.strip():
        raise InvalidInput("content required", field="content")
    enabled = body.get("enabled", True)
    if not isinstance(enabled, bool):
        raise InvalidInput("enabled: expected true or false", field="enabled")
    message = _text(body, "message")
    bundle, warnings = await gateway.policies.put(
        name,
        content,
        Act(caller, "policy.bundle.put", message, _flag(request, "skip_tests")),
        enabled=enabled,
        author=_text(body, "author") or caller.effective_principal,
        message=message,
    )
    answer: dict[str, Any] = {"id": name, "updated_at": bundle["updated_at"]}
    if bundle.get("_signature"):
        answer["signature"] = bundle["_signature"]
    if warnings:
        answer["warnings"] = warnings
    return json_reply(answer)


async def delete(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete one bundle."""
    name = _id_of(request)
    _refuse_global(name)
    await gateway.policies.delete(name, Act(caller, "policy.bundle.delete"))
    return Response(status_code=204)


async def snapshots(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """List the kept snapshots without their contents."""
    items = [
        {
            **{key: value for key, value in entry.items() if key != "bundles"},
            "bundle_ids": sorted(entry["bundles"]),
        }
        for entry in await gateway.policies.snapshots()
    ]
    return json_reply({"items": items})


async def snapshot(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """Show one snapshot with its bundles."""
    return json_reply(await gateway.policies.snapshot(request.path_params["snapshot_id"]))


async def capture(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Keep the bundles as they are now."""
    note = _text(await json_object(request, _BODY_BYTES), "note")
    return json_reply(await gateway.policies.capture(author=caller.effective_principal, note=note))


async def publish(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Enable bundles, or with `dry_run=true` say what that would change."""
    body = await json_object(request, _BODY_BYTES)
    ids = body.get("bundle_ids") or []
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids) or len(ids) > 1_000:
        raise InvalidInput("bundle_ids: expected a list of bundle ids", field="bundle_ids")
    return await _publish(gateway, caller, request, body, ids)


async def publish_one(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Enable one bundle, or with `dry_run=true` say what that would change."""
    body = await json_object(request, _BODY_BYTES)
    name = _id_of(request)
    await gateway.policies.get(name)
    return await _publish(gateway, caller, request, body, [name])


async def _publish(
    gateway: Gateway, caller: Caller, request: Request, body: dict[str, Any], ids: list[str]
) -> Response:
    if _flag(request, "dry_run"):
        return json_reply(await gateway.policies.preview_publish(ids))
    author = _text(body, "author") or caller.effective_principal
    note = _text(body, "note") or _text(body, "message")
    act = Act(caller, "policy.publish", note, _flag(request, "skip_tests"))
    return json_reply(await gateway.policies.publish(ids, act, author=author, note=note))


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "").strip().lower()
    if value not in {"", "0", "1", "false", "true"}:
        raise InvalidInput(f"{name}: expected true or false", field=name)
    return value in {"1", "true"}


async def simulate(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Decide a request with one bundle replaced, or as it is stored; nothing is stored or counted."""
    body = await json_object(request, _BODY_BYTES)
    question = body.get("request")
    if not isinstance(question, dict):
        raise InvalidInput("request: expected an object", field="request")
    asked, warnings = check_request(question, caller)
    await add_config(gateway, asked)
    started_s = perf_counter()
    answer = await gateway.policies.decide_with(
        _id_of(request), _text(body, "content"), asked, gateway.settings.kernel_timeout_s
    )
    elapsed_ms = (perf_counter() - started_s) * 1e3
    return json_reply(decision_json(answer, eval_time_ms=elapsed_ms, warnings=warnings, redacted=False))


async def rollback(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Go back to a snapshot."""
    body = await json_object(request, _BODY_BYTES)
    snapshot_id = _text(body, "snapshot_id")
    if not snapshot_id:
        raise InvalidInput("snapshot_id required", field="snapshot_id")
    author = _text(body, "author") or caller.effective_principal
    note = _text(body, "note") or _text(body, "message")
    act = Act(caller, "policy.rollback", note, _flag(request, "skip_tests"))
    return json_reply(await gateway.policies.rollback(snapshot_id, act, author=author, note=note))
