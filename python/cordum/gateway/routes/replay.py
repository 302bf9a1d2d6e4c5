"""Past decisions: the log, replay of a candidate policy, figures per rule (policy spec §19.3–§19.5)."""

from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import Forbidden, InvalidInput
from cordum.gateway.api import Api
from cordum.gateway.decision_history import (
    DAY_US,
    JOBS_MAX,
    VERDICTS,
    WINDOW_MAX_US,
    DecisionHistory,
    DecisionQuery,
    ReplayOrder,
)
from cordum.gateway.http import json_object, json_reply, limit_of, time_of
from cordum.gateway.metrics import DECISION_QUERIES, DECISION_SECONDS
from cordum.gateway.state import Gateway
from cordum.runtime.clock import now_us
from cordum.security.principal import Caller

__all__ = ["add_replay_routes"]

_BODY_BYTES: Final = 4 * 1024 * 1024
_RANGE: Final = {
    "from": {"type": "string", "format": "date-time"},
    "to": {"type": "string", "format": "date-time"},
}
_REPLAY_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        **_RANGE,
        "filters": {
            "type": "object",
            "properties": {
                name: {"type": "string"} for name in ("tenant", "topic_pattern", "original_decision")
            },
        },
        "candidate_bundle_id": {"type": "string"},
        "candidate_content": {"type": "string"},
        "use_current_policy": {"type": "boolean"},
        "max_jobs": {"type": "integer", "minimum": 1, "maximum": JOBS_MAX},
        "all_jobs": {"type": "boolean"},
    },
}
_ANALYTICS_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {**_RANGE, "rule_filter": {"type": "string"}},
}


def add_replay_routes(api: Api) -> None:
    """Register the routes."""
    query = {
        "since": "oldest time",
        "until": "newest time, exclusive",
        "topic": "topic or topic pattern",
        "rule_id": "rule that decided",
        "verdict": " | ".join(VERDICTS),
        "agent_id": "agent",
        "cursor": "next page",
        "limit": "items, 50",
    }
    api.add(
        "GET",
        "/governance/decisions",
        "governance.read",
        decisions,
        summary="List past decisions, newest first",
        query=query,
    )
    api.add(
        "POST",
        "/policy/replay",
        "policy.read",
        replay,
        summary="Run a candidate policy over past decisions",
        body=_REPLAY_BODY,
    )
    api.add(
        "POST",
        "/policy/analytics",
        "policy.read",
        analytics,
        summary="Hits, approvals and overrides per rule",
        body=_ANALYTICS_BODY,
    )


def _history(gateway: Gateway) -> DecisionHistory:
    return DecisionHistory(gateway.redis, gateway.jobs, gateway.kernel)


async def decisions(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Page through the decisions of the tenant."""
    start = perf_counter()
    text = request.query_params
    verdict = text.get("verdict", "")
    if verdict and verdict not in VERDICTS:
        raise InvalidInput(f"verdict: expected one of {list(VERDICTS)}", field="verdict")
    query = DecisionQuery(
        since_us=time_of(request, "since"),
        until_us=time_of(request, "until"),
        topic=text.get("topic", ""),
        rule_id=text.get("rule_id", ""),
        decision=VERDICTS.get(verdict, ""),
        agent_id=text.get("agent_id", ""),
    )
    items, cursor = await _history(gateway).page(
        caller.tenant, query, limit=limit_of(request, 50), cursor=text.get("cursor", "")
    )
    DECISION_QUERIES.labels(verdict or "any").inc()
    DECISION_SECONDS.labels("decisions").observe(perf_counter() - start)
    if cursor is None:
        return json_reply({"items": items})
    link = f'<{request.url.path}?{urlencode({**text, "cursor": cursor})}>; rel="next"'
    return json_reply({"items": items, "next_cursor": cursor}, headers={"Link": link})


async def replay(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Say which past requests a candidate would decide otherwise."""
    start = perf_counter()
    body = await json_object(request, _BODY_BYTES)
    filters = {} if body.get("filters") is None else body["filters"]
    if not isinstance(filters, dict):
        raise InvalidInput("filters: expected an object", field="filters")
    tenant = _text(filters, "tenant") or caller.tenant
    if tenant != caller.tenant and not caller.cross_tenant:
        raise Forbidden("tenant access denied", code="tenant_access_denied")
    since_us, until_us = _window(body)
    use_current = _flag(body, "use_current_policy")
    content = _text(body, "candidate_content")
    if not use_current and not content.strip():
        raise InvalidInput("candidate_content: expected a policy document", field="candidate_content")
    decision = _text(filters, "original_decision")
    order = ReplayOrder(
        since_us,
        until_us,
        topic=_text(filters, "topic_pattern"),
        decision=VERDICTS.get(decision.lower(), decision.upper()),
        use_current=use_current,
        bundle_id=_text(body, "candidate_bundle_id").replace("~", "/"),
        content=content,
        max_jobs=0 if _flag(body, "all_jobs") else _max_jobs(body),
    )
    result = await _history(gateway).replay(tenant, order)
    DECISION_SECONDS.labels("replay").observe(perf_counter() - start)
    return json_reply(result)


async def analytics(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Return figures per rule."""
    start = perf_counter()
    body = await json_object(request, _BODY_BYTES)
    since_us, until_us = _window(body)
    result = await _history(gateway).analytics(caller.tenant, since_us, until_us, _text(body, "rule_filter"))
    DECISION_SECONDS.labels("analytics").observe(perf_counter() - start)
    return json_reply(result)


def _window(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the time range; its end defaults to now, its start to a day before the end."""
    until_us = _time(body, "to") or now_us()
    since_us = _time(body, "from") or until_us - DAY_US
    if since_us >= until_us:
        raise InvalidInput("from: expected a time before `to`", field="from")
    if until_us - since_us > WINDOW_MAX_US:
        raise InvalidInput("from: expected at most 7 days before `to`", field="from")
    return since_us, until_us


def _time(body: Mapping[str, Any], name: str) -> int | None:
    text = _text(body, name)
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{name}: expected an RFC 3339 time", field=name) from error
    if parsed.tzinfo is None:
        raise InvalidInput(f"{name}: expected an RFC 3339 time with a zone", field=name)
    moment = int(parsed.timestamp() * 1_000_000)
    if moment <= 0:
        raise InvalidInput(f"{name}: expected a time after 1970", field=name)
    return moment


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected a string", field=name)
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}: expected true or false", field=name)
    return value


def _max_jobs(body: Mapping[str, Any]) -> int:
    value = body.get("max_jobs", 500)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput("max_jobs: expected a number from 1 to 1000", field="max_jobs")
    return min(value, JOBS_MAX)
