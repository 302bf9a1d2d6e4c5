"""Velocity rules as operators write them, and as the bundles `velocity/<id>` they become (policy spec §19.2)."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from cordum._core import PolicyError, policy_rules, validate_policy
from cordum.domain.errors import InvalidInput
from cordum.gateway.durations import go_duration, parse_go_duration
from cordum.store.policy_bundles import parse_bundles

__all__ = ["PREFIX", "bundle_content", "check_rule", "rule_of_bundle"]

PREFIX: Final = "velocity/"
NAME_CHARS: Final = 120
REASON_CHARS: Final = 1_000
LIST_ITEMS: Final = 256
WINDOW_MAX_S: Final = 86_400
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL: Final = re.compile(r"labels\.[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PARTS: Final = frozenset({"tenant", "topic", "actor_id", "actor_type", "pack_id", "capability"})
_MATCH: Final = ("topics", "tenants", "risk_tags")
_DECISIONS: Final = {
    "allow": "allow",
    "permit": "allow",
    "deny": "deny",
    "block": "deny",
    "require_approval": "require_approval",
    "require-approval": "require_approval",
    "require_human": "require_approval",
    "allow_with_constraints": "allow_with_constraints",
    "allow-with-constraints": "allow_with_constraints",
    "throttle": "throttle",
}


def check_rule(body: Mapping[str, Any], *, rule_id: str = "") -> dict[str, Any]:
    """Return the rule of a request body in canonical form, without times.

    ``rule_id`` is that of the path; one in the body must be the same. `enabled` is absent when the body says nothing.
    Raises InvalidInput `VELOCITY_RULE_INVALID` naming the member.
    """
    rule: dict[str, Any] = {
        "id": _id(body, rule_id),
        "name": _text(body, "name", NAME_CHARS),
        "match": _match(body.get("match")),
        "window": go_duration(_window(body)),
        "key": _key(body),
        "threshold": _threshold(body),
        "decision": _decision(body),
        "reason": _text(body, "reason", REASON_CHARS),
    }
    if body.get("enabled") is not None:
        if not isinstance(body["enabled"], bool):
            raise _invalid("enabled", "expected true or false")
        rule["enabled"] = body["enabled"]
    problems = validate_policy(bundle_content(rule).encode())
    if problems:
        shown = "; ".join(f"{path}: {message}" for path, message, _ in problems[:5])
        raise InvalidInput(f"invalid velocity rule: {shown[:1_000]}", code="VELOCITY_RULE_INVALID")
    return rule


def bundle_content(rule: Mapping[str, Any]) -> str:
    """Return the policy document of a canonical rule."""
    document = {
        "rules": [
            {
                "id": rule["id"],
                "match": {name: values for name, values in rule["match"].items() if values},
                "velocity": {
                    "max_requests": rule["threshold"],
                    "window_seconds": parse_go_duration(rule["window"]),
                    "key": rule["key"],
                },
                "decision": rule["decision"],
                "reason": rule["reason"],
            }
        ]
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def rule_of_bundle(bundle_id: str, bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule stored as a bundle. Raises InvalidInput saying why it is none."""
    parsed = parse_bundles({bundle_id: bundle})[0]
    try:
        rules = orjson.loads(policy_rules(parsed.content))
    except PolicyError as error:
        raise InvalidInput(str(error)[:1_000]) from error
    raw = rules[0]["rule"] if len(rules) == 1 and rules[0]["section"] == "rules" else {}
    counted = raw.get("velocity")
    if counted is None:
        raise InvalidInput("expected one rule with `velocity`")
    rule = {
        "id": bundle_id.removeprefix(PREFIX),
        "name": parsed.name or raw.get("id") or bundle_id.removeprefix(PREFIX),
        "match": raw.get("match") or {},
        "window": go_duration(int(counted["window_seconds"])),
        "key": counted["key"],
        "threshold": int(counted["max_requests"]),
        "decision": _DECISIONS.get(str(raw.get("decision", "deny")), "deny"),
        "reason": raw.get("reason") or "",
        "enabled": parsed.enabled,
    }
    return rule | {name: bundle[name] for name in ("created_at", "updated_at") if bundle.get(name)}


def _id(body: Mapping[str, Any], rule_id: str) -> str:
    given = body.get("id")
    if rule_id and given not in (None, "", rule_id):
        raise _invalid("id", f"expected `{rule_id[:64]}`, the id of the path, or none")
    found = rule_id or given
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise _invalid("id", f"expected a text like {_ID.pattern}")
    return found


def _text(body: Mapping[str, Any], name: str, limit: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= limit:
        raise _invalid(name, f"expected 1 to {limit} characters")
    return value.strip()


def _match(value: object) -> dict[str, list[str]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid("match", "expected an object")
    # A restriction that is silently dropped would make the rule count other requests.
    if unknown := [str(name)[:64] for name in value if name not in _MATCH]:
        raise _invalid(f"match.{unknown[0]}", f"expected one of {', '.join(_MATCH)}")
    return {name: _texts(value[name], f"match.{name}") for name in _MATCH if value.get(name) is not None}


def _texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or len(value) > LIST_ITEMS:
        raise _invalid(where, f"expected a list of at most {LIST_ITEMS} texts")
    if not all(isinstance(item, str) and item.strip() for item in value):
        raise _invalid(where, "expected texts that are not blank")
    return [item.strip() for item in value]


def _window(body: Mapping[str, Any]) -> int:
    value = body.get("window")
    seconds = parse_go_duration(value) if isinstance(value, str) else None
    if seconds is None or not 1 <= seconds <= WINDOW_MAX_S:
        raise _invalid("window", "expected a duration of whole seconds from 1s to 24h, such as `5m`")
    return seconds


def _key(body: Mapping[str, Any]) -> str:
    value = body.get("key")
    parts = [part.strip() for part in value.split(":")] if isinstance(value, str) else []
    if not parts or not all(part in _PARTS or _LABEL.fullmatch(part) for part in parts):
        raise _invalid(
            "key", f"expected parts of {', '.join(sorted(_PARTS))} or labels.<name>, joined with `:`"
        )
    return ":".join(parts)


def _threshold(body: Mapping[str, Any]) -> int:
    value = body.get("threshold")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 53:
        raise _invalid("threshold", "expected a whole number, 1 or more")
    return value


def _decision(body: Mapping[str, Any]) -> str:
    value = body.get("decision")
    word = _DECISIONS.get(value.strip().lower()) if isinstance(value, str) else None
    if word is None:
        raise _invalid("decision", f"expected one of {', '.join(_DECISIONS)}")
    return word


def _invalid(where: str, expected: str) -> InvalidInput:
    return InvalidInput(f"{where}: {expected}", code="VELOCITY_RULE_INVALID", field=where)
