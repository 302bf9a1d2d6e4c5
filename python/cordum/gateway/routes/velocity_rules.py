"""Velocity rules: list, write, delete, statistics (policy spec §19.2)."""

from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import Conflict, InvalidInput, NotFound
from cordum.gateway.api import Api
from cordum.gateway.durations import parse_go_duration
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.policy_audit import Act
from cordum.gateway.policy_documents import Bundles
from cordum.gateway.state import Gateway
from cordum.gateway.velocity_rules import PREFIX, bundle_content, check_rule, rule_of_bundle
from cordum.runtime.clock import now_us, rfc3339
from cordum.security.principal import Caller
from cordum.store.policy_bundles import parse_bundles
from cordum.store.velocity import CountedRule, VelocityCounters

__all__ = ["add_velocity_routes"]

_BODY_BYTES: Final = 256 * 1024
_TOP: Final = 10
_UNLIMITED: Final = -1
_UPGRADE_URL: Final = "https://cordum.io/pricing"
_TEXTS: Final = {"type": "array", "items": {"type": "string"}}
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "window", "key", "threshold", "decision", "reason"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "match": {"type": "object", "properties": dict.fromkeys(("topics", "tenants", "risk_tags"), _TEXTS)},
        "window": {"type": "string"},
        "key": {"type": "string"},
        "threshold": {"type": "integer", "minimum": 1},
        "decision": {"type": "string"},
        "reason": {"type": "string"},
        "enabled": {"type": "boolean"},
        "author": {"type": "string"},
        "message": {"type": "string"},
    },
}


def add_velocity_routes(api: Api) -> None:
    """Register the routes."""
    path, read, write = "/policy/velocity-rules", "policy.read", "policy.write"
    api.add("GET", path, read, list_all, summary="List velocity rules")
    api.add("POST", path, write, create, summary="Create a velocity rule", body=_BODY, success=201)
    api.add("GET", f"{path}/stats", read, stats, summary="How often velocity rules were exceeded")
    api.add("PUT", f"{path}/{{rule_id}}", write, update, summary="Change a velocity rule", body=_BODY)
    api.add("DELETE", f"{path}/{{rule_id}}", write, delete, summary="Delete a velocity rule", success=204)


async def list_all(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """List the rules; a bundle that holds none is told under `errors`."""
    bundles, _ = await gateway.policies.read()
    rules, errors = _rules(bundles)
    answer: dict[str, Any] = {
        "items": rules,
        "count": len(rules) + len(errors),
        # No plan limits velocity rules in this version.
        "limit": _UNLIMITED,
        "upgrade_url": _UPGRADE_URL,
    }
    if times := [rule["updated_at"] for rule in rules if "updated_at" in rule]:
        answer["updated_at"] = max(times)
    if errors:
        answer["errors"] = errors
    return json_reply(answer)


def _rules(bundles: Bundles) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    rules, errors = [], []
    for name in sorted(bundles):
        if not name.startswith(PREFIX):
            continue
        try:
            rules.append(rule_of_bundle(name, bundles[name]))
        except InvalidInput as error:
            errors.append({"id": name.removeprefix(PREFIX), "fragment_id": name, "error": error.message})
    return rules, errors


async def create(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Create a rule; it counts as soon as the kernel has read it."""
    body = await json_object(request, _BODY_BYTES)
    rule = check_rule(body)
    return await _store(gateway, caller, body, rule, is_new=True)


async def update(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Replace a rule; it stays enabled or disabled when the body does not say."""
    body = await json_object(request, _BODY_BYTES)
    rule_id = str(request.path_params["rule_id"])
    # Unknown ids are 404 whatever the body says.
    await _stored(gateway, rule_id)
    return await _store(gateway, caller, body, check_rule(body, rule_id=rule_id), is_new=False)


async def _stored(gateway: Gateway, rule_id: str) -> None:
    bundles, _ = await gateway.policies.read()
    if PREFIX + rule_id not in bundles:
        raise NotFound("velocity rule not found")


async def _store(
    gateway: Gateway, caller: Caller, body: dict[str, Any], rule: dict[str, Any], *, is_new: bool
) -> Response:
    bundle_id = PREFIX + rule["id"]
    fields = {name: _optional(body, name) for name in ("author", "message")}

    def change(bundles: Bundles) -> None:
        if is_new and bundle_id in bundles:
            raise Conflict("velocity rule already exists", code="VELOCITY_RULE_CONFLICT")
        if not is_new and bundle_id not in bundles:
            raise NotFound("velocity rule not found")
        gateway.policies.replace(
            bundles,
            bundle_id,
            content=bundle_content(rule),
            enabled=rule["enabled"] if "enabled" in rule else is_new or _is_enabled(bundles[bundle_id]),
            name=rule["name"],
            author=fields["author"] or caller.effective_principal,
            message=fields["message"],
        )

    action = "policy.velocity_rule.create" if is_new else "policy.velocity_rule.update"
    bundles, _ = await gateway.policies.edit(change, Act(caller, action, fields["message"]))
    return json_reply(rule_of_bundle(bundle_id, bundles[bundle_id]), 201 if is_new else 200)


def _is_enabled(bundle: dict[str, Any]) -> bool:
    return parse_bundles({"": bundle})[0].enabled


def _optional(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 1_000:
        raise InvalidInput(
            f"{name}: expected at most 1000 characters", code="VELOCITY_RULE_INVALID", field=name
        )
    return value


async def delete(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Delete a rule; its counters expire by themselves."""
    bundle_id = PREFIX + str(request.path_params["rule_id"])

    def change(bundles: Bundles) -> None:
        if bundles.pop(bundle_id, None) is None:
            raise NotFound("velocity rule not found")

    await gateway.policies.edit(change, Act(caller, "policy.velocity_rule.delete"))
    return Response(status_code=204)


async def stats(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """Say how often each rule was exceeded in 24 h, and how full its buckets are now."""
    bundles, _ = await gateway.policies.read()
    rules, _ = _rules(bundles)
    counted = [
        CountedRule(rule["id"], rule["threshold"], parse_go_duration(rule["window"]) or 1) for rule in rules
    ]
    found = await VelocityCounters(gateway.redis).statistics_of(counted, now_us=now_us())
    items = [_timed(stat) for stat in found]
    top = sorted(items, key=_by_hits)[:_TOP]
    return json_reply({"items": items, "top_rules": top, "generated_at": rfc3339()})


def _timed(stat: dict[str, Any]) -> dict[str, Any]:
    last_us = stat.pop("last_triggered_us", None)
    return stat | ({"last_triggered": rfc3339(last_us)} if last_us else {})


def _by_hits(stat: dict[str, Any]) -> tuple[int, str]:
    return -stat["hit_count_24h"], stat["id"]
