"""Output policy over HTTP: rules, statistics, dry runs (output policy spec §11)."""

import asyncio
import base64
import binascii
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import InvalidInput, NotFound, Unavailable
from cordum.domain.policy_problems import problem_json
from cordum.gateway.api import Api
from cordum.gateway.http import json_object, json_reply, limit_of
from cordum.gateway.output_rules import (
    GLOBAL_OUTPUT,
    has_rule,
    name_fault,
    output_rule_items,
    rule_of_sdk,
    with_rule,
    with_switch,
)
from cordum.gateway.policy_audit import Act
from cordum.gateway.policy_documents import Bundles
from cordum.gateway.policy_rules import BASE, readable_bundles
from cordum.gateway.state import Gateway
from cordum.runtime.clock import now_us, rfc3339
from cordum.security.principal import Caller
from cordum.store import keys
from cordum.store.output_stats import OutputStats
from cordum.store.policy_bundles import Bundle, enabled_sources, parse_bundles
from cordum.v1.output_policy_pb2 import OutputCheckRequest

__all__ = ["add_output_policy_routes"]

_SWITCH: Final = {"": False, "0": False, "false": False, "1": True, "true": True}
_BODY_BYTES: Final = 64 * 1024
_SIMULATED_BYTES: Final = 4 * 1024 * 1024
_CONTENT_MAX: Final = 1024 * 1024
_CANDIDATE: Final = "secops/simulated-output"
_STATS_MAX: Final = 500
_TEXT: Final = {"type": "string"}
_RULE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "enabled": {"type": "boolean"},
        **dict.fromkeys(("name", "description", "scanner_type", "pattern", "action"), _TEXT),
        "config": {"type": "object"},
    },
}
_SIMULATION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("topic", "tenant", "content_type", "content", "content_base64"), _TEXT),
        "capabilities": {"type": "array", "items": _TEXT},
        "risk_tags": {"type": "array", "items": _TEXT},
        "bundle": {"type": "object", "properties": {"content": _TEXT}},
    },
}


def add_output_policy_routes(api: Api) -> None:
    """Register the routes."""
    api.add(
        "GET",
        "/policy/output/rules",
        "policy.read",
        rules,
        summary="List output rules",
        query={"include_disabled": "true: also the rules of disabled bundles"},
    )
    put = "Switch an output rule, or write it"
    api.add("PUT", "/policy/output/rules/{rule_id}", "policy.write", put_rule, summary=put, body=_RULE)
    api.add(
        "GET",
        "/policy/output/stats",
        "policy.read",
        stats,
        summary="Output checks of the last 24 hours",
        query={"limit": "accepted for older clients, 500"},
    )
    api.add(
        "POST",
        "/policy/output/simulate",
        "policy.read",
        simulate,
        summary="Say what would be decided about an output",
        body=_SIMULATION,
    )


async def rules(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """List the output rules of the base, then of the bundles in id order."""
    text = request.query_params.get("include_disabled", "").strip().lower()
    if text not in _SWITCH:
        raise InvalidInput("include_disabled: expected true or false", field="include_disabled")
    stored, _ = await gateway.policies.read()
    readable, errors = readable_bundles(stored)
    bundles = [bundle for bundle in readable if bundle.is_active or _SWITCH[text]]
    try:
        base = await gateway.kernel.base_document(gateway.settings.kernel_timeout_s)
        if base.HasField("content"):
            bundles.insert(0, Bundle(BASE, base.content))
    except Unavailable as error:
        # The bundles are worth showing without it.
        errors.append({"fragment_id": BASE, "error": error.message})
    fragments = await gateway.rules.read([bundle.content for bundle in bundles])
    errors += [
        {"fragment_id": bundle.id, "error": fragment.error}
        for bundle, fragment in zip(bundles, fragments, strict=True)
        if fragment.error
    ]
    ids = sorted(
        {
            str(entry["rule"].get("id") or "").lower()
            for fragment in fragments
            for entry in fragment.entries
            if entry["section"] == "output_rules"
        }
        - {""}
    )
    counted = await OutputStats(gateway.redis).triggers(ids, now_us()) if ids else []
    triggers = dict(zip(ids, counted, strict=True))
    items = [
        item
        for bundle, fragment in zip(bundles, fragments, strict=True)
        for item in output_rule_items(bundle, fragment.entries, triggers)
    ]
    return json_reply({"items": items} | ({"errors": errors} if errors else {}))


async def put_rule(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Switch a rule on or off, or write it as a typed client describes it."""
    rule_id = request.path_params["rule_id"].strip()
    if not rule_id:
        raise InvalidInput("rule id required", code="POLICY_VALIDATION_FAILED", field="id")
    body = await json_object(request, _BODY_BYTES)
    described = body.keys() - {"enabled", "id"}
    if not described and not isinstance(body.get("enabled"), bool):
        raise InvalidInput("enabled is required", code="POLICY_VALIDATION_FAILED", field="enabled")
    changed: list[str] = []
    rule = rule_of_sdk(rule_id, body) if described else {}

    def change(bundles: Bundles) -> None:
        changed.clear()
        bundle_id, content = (
            _written(bundles, rule) if rule else _switched(bundles, rule_id, enabled=body["enabled"])
        )
        before = parse_bundles({bundle_id: bundles[bundle_id]})[0] if bundle_id in bundles else None
        kept = {"enabled": before.enabled} if before is not None else {"enabled": True}
        gateway.policies.replace(
            bundles, bundle_id, content=content, author=caller.effective_principal, message=message, **kept
        )
        changed.append(bundle_id)

    enabled = rule["enabled"] if rule else body["enabled"]
    message = f"set output rule {rule_id} enabled={str(enabled).lower()}"
    try:
        bundles, warnings = await gateway.policies.edit(
            change, Act(caller, f"edit output_rule {rule_id}", message)
        )
    except InvalidInput as error:
        if rule:
            name_fault(error, rule_id, body)
        raise
    answer: dict[str, Any] = {
        "id": rule_id,
        "enabled": enabled,
        "bundle_id": changed[0],
        "updated_at": bundles[changed[0]]["updated_at"],
    }
    about = f"bundle {changed[0]}: output_rules["
    if told := [warning for warning in warnings if warning.startswith(about)]:
        answer["warnings"] = told
    return json_reply({**body, **answer} if rule else answer)


def _switched(bundles: Bundles, rule_id: str, *, enabled: bool) -> tuple[str, str]:
    """Return the first bundle with the rule and its new content. Raises NotFound."""
    for name, content in _contents(bundles):
        switched = with_switch(content, rule_id, enabled=enabled) if rule_id in content else None
        if switched is not None:
            return name, switched
    raise NotFound("output rule not found", code="output_rule_not_found")


def _written(bundles: Bundles, rule: dict[str, Any]) -> tuple[str, str]:
    for name, content in _contents(bundles):
        if rule["id"] in content and has_rule(content, rule["id"]):
            return name, with_rule(content, rule)
    known = dict(_contents(bundles))
    return GLOBAL_OUTPUT, with_rule(known.get(GLOBAL_OUTPUT, ""), rule)


def _contents(bundles: Bundles) -> list[tuple[str, str]]:
    readable, _ = readable_bundles(bundles)
    return [(bundle.id, bundle.content.decode("utf-8", "replace")) for bundle in readable]


async def stats(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Sums of the last 24 hours over the tenants the caller may see."""
    limit_of(request, _STATS_MAX)
    tenants = [caller.tenant]
    if caller.cross_tenant:
        members = await gateway.redis.execute("SMEMBERS", keys.TENANTS)
        tenants = sorted({caller.tenant, *(member.decode() for member in members)})[:_STATS_MAX]
    sums = await OutputStats(gateway.redis).totals(tenants, now_us())
    return json_reply(
        {
            "total_checks_24h": sums.checks,
            "quarantined_24h": sums.quarantined,
            "redacted_24h": sums.redacted,
            "skipped_24h": sums.skipped,
            "avg_latency_ms": round(sums.duration_ms / sums.timed) if sums.timed else 0,
            # A typed client reads it as a time, also when there was no check yet.
            "last_check_at": rfc3339(sums.last_at_us)[:19] + "Z",
        }
    )


async def simulate(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Say what would be decided; nothing is stored or counted."""
    body = await json_object(request, _SIMULATED_BYTES)
    asked = OutputCheckRequest(
        topic=_text(body, "topic"),
        tenant=_text(body, "tenant") or caller.tenant,
        content_type=_text(body, "content_type"),
        output_content=_content(body),
        capabilities=_list(body, "capabilities"),
        risk_tags=_list(body, "risk_tags"),
    )
    asked.output_size_bytes = len(asked.output_content)
    bundles = None
    candidate = body.get("bundle")
    if candidate is not None:
        if not isinstance(candidate, dict) or not isinstance(candidate.get("content"), str):
            raise InvalidInput("bundle.content: expected a text", field="bundle.content")
        stored, _ = await gateway.policies.read()
        stored[_CANDIDATE] = {"content": candidate["content"], "enabled": True}
        bundles = enabled_sources(parse_bundles(stored))
    answer = await gateway.kernel.simulate_output(
        asked.SerializeToString(), bundles, gateway.settings.kernel_timeout_s
    )
    if answer.problems:
        problems = [problem_json(one.path, one.message, one.line) for one in answer.problems]
        text = "; ".join(f"{one.path}: {one.message}" for one in answer.problems)
        raise InvalidInput(
            f"invalid policy content: {text[:4_000]}",
            code="POLICY_VALIDATION_FAILED",
            details={"errors": problems},
        )
    return json_reply(await asyncio.to_thread(orjson.loads, answer.result))


def _content(body: dict[str, Any]) -> bytes:
    encoded = body.get("content_base64")
    if encoded is None:
        content = _text(body, "content").encode()
    else:
        try:
            content = base64.b64decode(str(encoded), validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput("content_base64: expected base64", field="content_base64") from error
    if len(content) > _CONTENT_MAX:
        raise InvalidInput(f"content: expected at most {_CONTENT_MAX} bytes", field="content")
    return content


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected a text", field=name)
    return value


def _list(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInput(f"{name}: expected a list of texts", field=name)
    return value
