"""The global authority: five named bundles that stand above all others (policy spec §19.1)."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.policy_audit import Act
from cordum.gateway.policy_documents import Bundles
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller
from cordum.store.config_documents import Document
from cordum.store.policy_bundles import bundles_snapshot, parse_bundles

__all__ = ["add_global_routes"]

_BODY_BYTES: Final = 4 * 1024 * 1024
SECTIONS: Final = {
    "input_rules": "secops/global-input",
    "output_rules": "secops/global-output",
    "edge_action_rules": "secops/global-edge-action",
    "mcp_tool_rules": "secops/global-mcp-tool",
    "invariants": "secops/invariants",
}
_SECTION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"content": {"type": "string"}, "enabled": {"type": "boolean"}},
}
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["sections"],
    "properties": {
        "snapshot_version": {"type": "integer"},
        "sections": {
            "type": "object",
            "properties": dict.fromkeys(SECTIONS, _SECTION),
            "additionalProperties": False,
        },
        "author": {"type": "string"},
        "message": {"type": "string"},
    },
}


def add_global_routes(api: Api) -> None:
    """Register the routes."""
    api.add("GET", "/policy/global", "policy.read", show, summary="Show the global authority")
    api.add("PUT", "/policy/global", "policy.write", put, summary="Write the global authority", body=_BODY)


async def show(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """Show all five sections; the content of one that is not set is blank."""
    return json_reply(_answer(*await gateway.policies.state()))


def _answer(bundles: Bundles, document: Document) -> dict[str, Any]:
    parsed = {bundle.id: bundle for bundle in parse_bundles(bundles)}
    sections = {}
    for section, bundle_id in SECTIONS.items():
        found = parsed.get(bundle_id)
        sections[section] = {
            "bundle_id": bundle_id,
            "content": found.content.decode() if found else "",
            "sha256": found.sha256 if found else "",
            # What a write that says nothing about it would make it.
            "enabled": found.enabled if found else True,
        }
    answer: dict[str, Any] = {
        "snapshot_version": document.revision,
        "snapshot_hash": bundles_snapshot(parsed.values()),
        "sections": sections,
    }
    if document.updated_at:
        answer["updated_at"] = document.updated_at
    return answer


async def put(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Write the named sections in one step, those with blank content are deleted; the others stay."""
    body = await json_object(request, _BODY_BYTES)
    sections = _sections(body.get("sections"))
    revision = body.get("snapshot_version")
    if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int)):
        raise InvalidInput("snapshot_version: expected a whole number", field="snapshot_version")
    author = _text(body, "author") or caller.effective_principal
    message = _text(body, "message")

    def change(bundles: Bundles) -> None:
        for bundle_id, (content, enabled) in sections.items():
            if not content.strip():
                bundles.pop(bundle_id, None)
                continue
            before = parse_bundles({bundle_id: bundles[bundle_id]})[0] if bundle_id in bundles else None
            gateway.policies.replace(
                bundles,
                bundle_id,
                content=content,
                enabled=enabled if enabled is not None else before is None or before.enabled,
                author=author,
                message=message,
            )

    act = Act(caller, "policy.global.put", message)
    _, warnings = await gateway.policies.edit(change, act, revision=revision)
    answer = _answer(*await gateway.policies.state())
    return json_reply(answer | ({"warnings": warnings} if warnings else {}))


def _sections(value: object) -> dict[str, tuple[str, bool | None]]:
    """Return content and switch by bundle id. Raises InvalidInput."""
    if not isinstance(value, Mapping) or not value:
        raise InvalidInput("sections: expected an object with at least one section", field="sections")
    found: dict[str, tuple[str, bool | None]] = {}
    for name, section in value.items():
        where = f"sections.{str(name)[:64]}"
        if name not in SECTIONS:
            raise InvalidInput(f"{where}: expected one of {', '.join(SECTIONS)}", field=where)
        if not isinstance(section, Mapping) or not isinstance(section.get("content"), str):
            raise InvalidInput(f"{where}.content: expected a text", field=f"{where}.content")
        enabled = section.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            raise InvalidInput(f"{where}.enabled: expected true or false", field=f"{where}.enabled")
        found[SECTIONS[name]] = (section["content"], enabled)
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected a text", field=name)
    return value
