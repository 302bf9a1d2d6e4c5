"""Output rules as listings show them and as authors edit them (output policy spec §11.1, §11.2)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from cordum.domain.errors import InvalidInput
from cordum.gateway.policy_rules import BASE
from cordum.runtime.clock import rfc3339
from cordum.store.policy_bundles import Bundle

__all__ = [
    "GLOBAL_OUTPUT",
    "has_rule",
    "name_fault",
    "output_rule_items",
    "rule_of_sdk",
    "with_rule",
    "with_switch",
]

GLOBAL_OUTPUT: Final = "secops/global-output"
_PREVIEW: Final = 100
_ACTIONS: Final = {"BLOCK": "quarantine", "REDACT": "redact", "LOG": "allow", "WARN": "allow"}
_FAULT: Final = re.compile(r"output_rules\[\d+\]\.(.+)$")
_CORE: Final = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
)


class _CoreLoader(yaml.CSafeLoader):
    """YAML 1.2 core schema, as policies are read: `no` and `on` are texts."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the library's own form


class _CoreDumper(yaml.CSafeDumper):
    """Quotes what either version of YAML would read as something else than a text."""

    yaml_implicit_resolvers: dict[Any, Any] = {  # noqa: RUF012 - the library's own form
        first: list(resolvers) for first, resolvers in yaml.CSafeDumper.yaml_implicit_resolvers.items()
    }


for _tag, _pattern, _first in _CORE:
    for _class in (_CoreLoader, _CoreDumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def output_rule_items(
    bundle: Bundle, entries: Iterable[Mapping[str, Any]], triggers: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Return the output rules of a document; ``triggers`` tells how often each decided and when last."""
    listed = [entry for entry in entries if entry["section"] == "output_rules"]
    return [_item(bundle, entry, triggers) for entry in listed]


def _item(
    bundle: Bundle, entry: Mapping[str, Any], triggers: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    rule = without_nulls(entry["rule"])
    match = rule.get("match") or {}
    patterns = _texts(match.get("content_patterns"))
    rule_id = str(rule.get("id") or "")
    item = {
        **{name: rule[name] for name in ("velocity", "constraints") if name in rule},
        "id": rule_id or "output-rule",
        "description": rule.get("description") or "",
        "topics": _texts(match.get("topics")),
        "scanners": list(dict.fromkeys([*_texts(match.get("scanners")), *_texts(match.get("detectors"))])),
        "patterns": patterns,
        "pattern_preview": _preview(patterns),
        "decision": str(rule.get("decision") or "allow").strip().lower(),
        "severity": _severity(rule.get("severity")),
        "reason": rule.get("reason") or "",
        "enabled": bundle.enabled and bool(entry["enabled"]),
        "match": match,
        "source": _source(bundle, str(entry["tier"])),
    }
    count, last_s = triggers.get(rule_id.lower(), (0, 0))
    if count:
        item["trigger_count_24h"] = count
    if last_s:
        item["last_triggered"] = rfc3339(last_s * 1_000_000)[:19] + "Z"
    return item


def _preview(patterns: Sequence[str]) -> str:
    first = patterns[0] if patterns else ""
    return first if len(first) <= _PREVIEW else f"{first[:_PREVIEW]}..."


def _severity(value: object) -> str:
    word = str(value or "").strip().lower()
    return word if word in {"low", "medium", "high", "critical"} else "high"


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _source(bundle: Bundle, tier: str) -> dict[str, str]:
    pack_id, _, overlay = bundle.id.partition("/") if bundle.id != BASE else ("", "", "")
    source = {
        "fragment_id": bundle.id,
        "pack_id": pack_id,
        "overlay_name": overlay,
        "version": bundle.version,
        "installed_at": bundle.installed_at,
        "sha256": bundle.sha256,
        "tier": tier,
    }
    return {name: value for name, value in source.items() if value}


def without_nulls(value: Any) -> Any:
    """Return a value without the members that are null, which form editors write for what is not set."""
    if isinstance(value, Mapping):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def with_switch(content: str, rule_id: str, *, enabled: bool) -> str | None:
    """Return a document with one rule switched on or off; None when it has no such rule. Unknown keys stay."""
    document = _load(content)
    for rule in _rules(document):
        if isinstance(rule, dict) and str(rule.get("id") or "").strip() == rule_id:
            rule["enabled"] = enabled
            return _dump(document)
    return None


def with_rule(content: str, rule: Mapping[str, Any]) -> str:
    """Return a document in which a rule stands in the place of the one of its id, or else at the end."""
    document = _load(content) if content.strip() else {}
    rules = document.setdefault("output_rules", [])
    for at, present in enumerate(rules):
        if isinstance(present, dict) and str(present.get("id") or "").strip() == rule["id"]:
            rules[at] = {**present, **rule}
            return _dump(document)
    rules.append(dict(rule))
    return _dump(document)


def has_rule(content: str, rule_id: str) -> bool:
    """Tell whether a document has an output rule of this id."""
    rules = _rules(_load(content)) if content.strip() else []
    return any(isinstance(rule, dict) and str(rule.get("id") or "").strip() == rule_id for rule in rules)


def rule_of_sdk(rule_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule a typed client's object means. Raises InvalidInput `POLICY_VALIDATION_FAILED`."""
    action = body.get("action")
    decision = _ACTIONS.get(str(action).strip().upper()) if action is not None else "quarantine"
    if decision is None:
        raise _invalid("action", f"expected one of {', '.join(_ACTIONS)}")
    config = body.get("config") if body.get("config") is not None else {}
    if not isinstance(config, Mapping):
        raise _invalid("config", "expected an object")
    match = {name: value for name, value in config.items() if value is not None}
    scanner, pattern = body.get("scanner_type"), body.get("pattern")
    for name, value in (("scanner_type", scanner), ("pattern", pattern)):
        if value is not None and not isinstance(value, str):
            raise _invalid(name, "expected a text")
    if scanner:
        match.setdefault("scanners", [scanner])
    if pattern:
        match.setdefault("content_patterns", [pattern])
    enabled = body.get("enabled", True)
    if not isinstance(enabled, bool):
        raise _invalid("enabled", "expected true or false")
    rule: dict[str, Any] = {"id": rule_id, "enabled": enabled, "decision": decision, "match": match}
    described = body.get("description") or body.get("name")
    return rule | ({"description": str(described)} if described else {})


def name_fault(error: InvalidInput, rule_id: str, body: Mapping[str, Any]) -> None:
    """Add to what is wrong with a policy the rule, and the member of the typed client's object that it comes from."""
    problems = error.details.get("errors")
    paths = [str(problem["path"]) for problem in problems] if isinstance(problems, list) else []
    found = next((match[1] for path in paths if (match := _FAULT.search(path))), None)
    if found is None:
        return
    error.details["rule_id"] = rule_id
    config = body.get("config") or {}
    for member, criterion in (("scanner_type", "scanners"), ("pattern", "content_patterns")):
        if found.startswith(f"match.{criterion}") and body.get(member) and criterion not in config:
            error.field = member
            return
    error.field = re.sub(r"^match\b", "config", found)


def _invalid(field: str, expected: str) -> InvalidInput:
    return InvalidInput(f"{field}: {expected}", code="POLICY_VALIDATION_FAILED", field=field)


def _rules(document: Mapping[str, Any]) -> list[Any]:
    rules = document.get("output_rules")
    return rules if isinstance(rules, list) else []


def _load(content: str) -> dict[str, Any]:
    try:
        document = yaml.load(content, Loader=_CoreLoader)  # noqa: S506 - a safe loader with other number formats
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"invalid policy content: {reason}", code="POLICY_VALIDATION_FAILED") from error
    if not isinstance(document, dict):
        raise InvalidInput("invalid policy content: expected a mapping", code="POLICY_VALIDATION_FAILED")
    return document


def _dump(document: Mapping[str, Any]) -> str:
    cleaned = {
        name: value for name, value in without_nulls(document).items() if value != "" or name == "version"
    }
    return yaml.dump(cleaned, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=120)
