"""Every rule of the policy, with where it comes from (policy spec §18)."""

from typing import Final

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import InvalidInput, Unavailable
from cordum.gateway.api import Api
from cordum.gateway.http import json_reply
from cordum.gateway.policy_rules import BASE, readable_bundles, rule_items
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller
from cordum.store.policy_bundles import Bundle

__all__ = ["add_rule_routes"]

_SWITCH: Final = {"": False, "0": False, "false": False, "1": True, "true": True}


def add_rule_routes(api: Api) -> None:
    """Register the route."""
    api.add(
        "GET",
        "/policy/rules",
        "policy.read",
        rules,
        summary="List every rule of the policy",
        query={"include_disabled": "true: also the rules that are switched off"},
    )


async def rules(gateway: Gateway, _caller: Caller, request: Request) -> Response:
    """List the rules of the base, then of the bundles in id order; documents that do not parse are told."""
    text = request.query_params.get("include_disabled", "").strip().lower()
    if text not in _SWITCH:
        raise InvalidInput("include_disabled: expected true or false", field="include_disabled")
    everything = _SWITCH[text]
    stored, _ = await gateway.policies.read()
    readable, errors = readable_bundles(stored)
    bundles = [bundle for bundle in readable if everything or bundle.is_active]
    items = []
    try:
        base = await gateway.kernel.base_document(gateway.settings.kernel_timeout_s)
        if base.HasField("content"):
            bundles.insert(0, Bundle(BASE, base.content))
    except Unavailable as error:
        # The bundles are worth showing without it.
        errors.append({"fragment_id": BASE, "error": error.message})
    fragments = await gateway.rules.read([bundle.content for bundle in bundles])
    for bundle, fragment in zip(bundles, fragments, strict=True):
        if fragment.error:
            errors.append({"fragment_id": bundle.id, "error": fragment.error})
        found = rule_items(bundle, fragment.entries)
        items += [item for item in found if everything or item["enabled"]]
    return json_reply({"items": items, "errors": errors})
