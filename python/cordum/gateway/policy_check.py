"""Policy questions over HTTP: JSON request → `PolicyCheckRequest`, answer → JSON (policy spec §17)."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from cordum.domain.errors import Forbidden, InvalidInput
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse
from cordum.security.principal import Caller

__all__ = ["check_request", "decision_json"]

CONTENT_MAX_BYTES: Final = 2 * 1024 * 1024
TOPIC_MAX_BYTES: Final = 4096
"""The kernel takes no longer ones."""
_LISTS_MAX: Final = 256
_LABELS_MAX: Final = 256
_PRIORITIES: Final = {"batch": 1, "interactive": 2, "critical": 3}
_ACTORS: Final = {"human": 1, "service": 2, "actor_type_human": 1, "actor_type_service": 2}
_NAMES: Final = {1: "ALLOW", 2: "DENY", 3: "REQUIRE_APPROVAL", 4: "THROTTLE", 5: "ALLOW_WITH_CONSTRAINTS"}
_TYPES: Final = {
    1: "DECISION_TYPE_ALLOW",
    2: "DECISION_TYPE_DENY",
    3: "DECISION_TYPE_REQUIRE_HUMAN",
    4: "DECISION_TYPE_THROTTLE",
    5: "DECISION_TYPE_ALLOW_WITH_CONSTRAINTS",
}
_THROTTLE_S: Final = 5
_KNOWN: Final = frozenset(
    {
        *(
            "topic",
            "job_id",
            "tenant",
            "org_id",
            "team_id",
            "workflow_id",
            "step_id",
            "principal_id",
            "priority",
        ),
        *("labels", "memory_id", "estimated_cost", "budget", "meta", "capability", "risk_tags", "context"),
        *("input_content", "input_content_type", "input_size_bytes", "effective_config", "action"),
    }
)
_META: Final = frozenset(
    {
        "tenant_id",
        "actor_id",
        "actor_type",
        "idempotency_key",
        "capability",
        "risk_tags",
        "requires",
        "pack_id",
        "labels",
    }
)
_DESCRIPTOR: Final = "_action.descriptor_json"


def check_request(body: Mapping[str, Any], caller: Caller) -> tuple[PolicyCheckRequest, list[str]]:
    """Return the question to the kernel and warnings about members that mean nothing.

    Raises InvalidInput naming the member, Forbidden for a foreign tenant.
    """
    topic = _text(body, "topic", limit=TOPIC_MAX_BYTES).strip()
    if not topic:
        raise InvalidInput("topic is required", field="topic")
    meta = _object(body, "meta")
    request = PolicyCheckRequest(
        topic=topic,
        job_id=_text(body, "job_id"),
        tenant=_tenant(body, caller),
        principal_id=_text(body, "principal_id") or caller.effective_principal,
        memory_id=_text(body, "memory_id"),
        priority=_word(body, "priority", _PRIORITIES),
        estimated_cost=_number(body, "estimated_cost"),
    )
    _add_labels(request, body, meta)
    _add_meta(request, body, meta)
    _add_budget(request, body)
    _add_content(request, body)
    if body.get("effective_config") is not None:
        request.effective_config = orjson.dumps(body["effective_config"])
    unknown = [f"unknown field `{name[:64]}` was ignored" for name in body if name not in _KNOWN]
    unknown += [f"unknown field `meta.{name[:64]}` was ignored" for name in meta if name not in _META]
    return request, unknown[:20]


def _tenant(body: Mapping[str, Any], caller: Caller) -> str:
    asked = _text(body, "tenant").strip() or _text(body, "org_id").strip()
    if asked and asked != caller.tenant and not caller.cross_tenant:
        raise Forbidden("tenant access denied", code="tenant_access_denied")
    return asked or caller.tenant


def _add_labels(request: PolicyCheckRequest, body: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Request labels win over `meta.labels`; the named ids fill what is absent in both."""
    labels = {**_strings(meta, "labels", "meta.labels"), **_strings(body, "labels", "labels")}
    for name in ("team_id", "workflow_id", "step_id"):
        if value := _text(body, name):
            labels.setdefault(name, value)
    # Only the gateway itself describes actions.
    labels.pop(_DESCRIPTOR, None)
    if len(labels) > _LABELS_MAX:
        raise InvalidInput(f"labels: expected at most {_LABELS_MAX}", field="labels")
    request.labels.update(labels)


def _add_meta(request: PolicyCheckRequest, body: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    for name in ("tenant_id", "actor_id", "idempotency_key", "pack_id"):
        if value := _text(meta, name, f"meta.{name}"):
            setattr(request.meta, name, value)
    request.meta.actor_type = _word(meta, "actor_type", _ACTORS, "meta.actor_type")
    request.meta.capability = _text(meta, "capability", "meta.capability") or _text(body, "capability")
    request.meta.risk_tags.extend(_list(meta, "risk_tags", "meta.risk_tags") or _list(body, "risk_tags"))
    request.meta.requires.extend(_list(meta, "requires", "meta.requires"))


def _add_budget(request: PolicyCheckRequest, body: Mapping[str, Any]) -> None:
    budget = _object(body, "budget")
    if not budget:
        return
    try:
        ParseDict(dict(budget), request.budget, ignore_unknown_fields=True)
    except ParseError as error:
        raise InvalidInput("budget: expected whole numbers", field="budget") from error


def _add_content(request: PolicyCheckRequest, body: Mapping[str, Any]) -> None:
    """`input_content` as it is, else `context` as JSON, so that content rules can be tried."""
    if text := _text(body, "input_content", limit=CONTENT_MAX_BYTES):
        request.input_content = text.encode()
        request.input_content_type = _text(body, "input_content_type")
    elif body.get("context") is not None:
        request.input_content = orjson.dumps(_object(body, "context"))
        request.input_content_type = "application/json"
    size = body.get("input_size_bytes")
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 1 << 53:
        raise InvalidInput("input_size_bytes: expected a whole number, 0 or more", field="input_size_bytes")
    request.input_size_bytes = size


# -- members -------------------------------------------------------------------------------------------


def _text(body: Mapping[str, Any], name: str, where: str = "", *, limit: int = 64 * 1024) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{where or name}: expected a text", field=where or name)
    if len(value.encode("utf-8", "surrogatepass")) > limit:
        raise InvalidInput(f"{where or name}: expected at most {limit} bytes", field=where or name)
    return value


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name}: expected an object", field=name)
    return value


def _strings(body: Mapping[str, Any], name: str, where: str) -> dict[str, str]:
    values = _object(body, name)
    if not all(isinstance(value, str) for value in values.values()):
        raise InvalidInput(f"{where}: expected an object of texts", field=where)
    return dict(values)


def _list(body: Mapping[str, Any], name: str, where: str = "") -> list[str]:
    value = body.get(name)
    if value is None:
        return []
    where = where or name
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInput(f"{where}: expected a list of texts", field=where)
    if len(value) > _LISTS_MAX:
        raise InvalidInput(f"{where}: expected at most {_LISTS_MAX} entries", field=where)
    return value


def _number(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{name}: expected a number", field=name)
    return float(value)


def _word(body: Mapping[str, Any], name: str, words: Mapping[str, int], where: str = "") -> Any:
    text = _text(body, name, where).strip().lower()
    if not text:
        return 0
    if text not in words:
        raise InvalidInput(f"{where or name}: expected one of {list(words)}", field=where or name)
    return words[text]


# -- answers -------------------------------------------------------------------------------------------


def decision_json(
    response: PolicyCheckResponse, *, eval_time_ms: float, warnings: list[str], redacted: bool
) -> dict[str, Any]:
    """Return the answer of policy spec §17.2. An unknown decision number is a DENY (§1)."""
    number = int(response.decision) if int(response.decision) in _NAMES else 2
    decision, rule_id, reason = _NAMES[number], response.rule_id, response.reason
    remediations = [_remediation(entry) for entry in response.remediations]
    if redacted:
        rule_id, reason, remediations = "matched" if rule_id else "", decision, []
    constraints = MessageToDict(response.constraints) if response.HasField("constraints") else None
    body: dict[str, Any] = {
        "decision": decision,
        "decision_type": _TYPES[number],
        "reason": reason,
        "rule_id": rule_id,
        "policy_snapshot": response.policy_snapshot,
        "approval_required": response.approval_required,
        "approval_ref": response.approval_ref,
        "redacted_context_ptr": response.redacted_context_ptr,
    }
    body |= {_camel(name): value for name, value in body.items() if "_" in name}
    body |= {
        "matched_rules": [rule_id] if rule_id else [],
        "constraints": constraints or None,
        "remediations": remediations,
        "throttle_duration_seconds": _THROTTLE_S if number == 4 else 0,
        "eval_time_ms": round(eval_time_ms, 3),
    }
    if warnings:
        body["warnings"] = warnings
    return body


def _remediation(entry: Any) -> dict[str, Any]:
    shown = MessageToDict(entry, preserving_proto_field_name=True)
    return shown | {_camel(name): value for name, value in shown.items() if "_" in name}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
