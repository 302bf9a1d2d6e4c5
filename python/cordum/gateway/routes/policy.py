"""Questions to the safety kernel: evaluate, simulate, explain, snapshots (policy spec §17, §18)."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from cordum.domain.errors import Forbidden
from cordum.gateway.api import ANY, Api
from cordum.gateway.decision_audit import decision_event
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.policy_check import check_request, decision_json
from cordum.gateway.state import Gateway
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse
from cordum.security.permissions import is_allowed
from cordum.security.principal import Caller

__all__ = ["add_config", "add_policy_routes"]

_BODY_BYTES: Final = 4 * 1024 * 1024
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["topic"],
    "properties": {
        "topic": {"type": "string"},
        "job_id": {"type": "string"},
        "tenant": {"type": "string"},
        "principal_id": {"type": "string"},
        "priority": {"enum": ["batch", "interactive", "critical"]},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "meta": {"type": "object"},
        "context": {"type": "object"},
        "input_content": {"type": "string"},
        "effective_config": {"type": "object"},
    },
}


def add_policy_routes(api: Api) -> None:
    """Register the routes."""
    api.add("POST", "/policy/evaluate", ANY, evaluate, summary="Decide one request; it counts", body=_BODY)
    api.add(
        "POST", "/policy/simulate", "policy.read", simulate, summary="Say what would be decided", body=_BODY
    )
    api.add(
        "POST",
        "/policy/explain",
        "policy.read",
        explain,
        summary="Say what would be decided and why",
        body=_BODY,
    )
    api.add(
        "GET", "/policy/snapshots", "policy.read", snapshots, summary="List policy snapshots, newest first"
    )


async def evaluate(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Decide; open to every key that may submit jobs, because agents' guards hold no policy rights."""
    if not (is_allowed(caller.role, "policy.evaluate") or is_allowed(caller.role, "jobs.write")):
        raise Forbidden("access denied", code="access_denied")
    return await _ask(gateway, caller, request, "policy.evaluate", gateway.kernel.evaluate, counts=True)


async def simulate(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Say what would be decided."""
    return await _ask(gateway, caller, request, "policy.simulate", gateway.kernel.simulate)


async def _ask(
    gateway: Gateway,
    caller: Caller,
    request: Request,
    action: str,
    call: Callable[[PolicyCheckRequest, float], Awaitable[PolicyCheckResponse]],
    *,
    counts: bool = False,
) -> Response:
    question, warnings = await _question(gateway, caller, request)
    timeout_s, own_writes = gateway.settings.kernel_timeout_s, gateway.policies.own_writes
    started_s = perf_counter()
    if counts and not question.job_id:
        # Asked twice it would count twice.
        await own_writes.caught_up(lambda: _active_snapshot(gateway))
        answer = await call(question, timeout_s)
    else:
        answer = await own_writes.ask(lambda: call(question, timeout_s), lambda found: found.policy_snapshot)
    elapsed_ms = (perf_counter() - started_s) * 1e3
    await gateway.audit_writer.record(decision_event(action, caller, question, answer))
    return json_reply(
        decision_json(
            answer,
            eval_time_ms=elapsed_ms,
            warnings=warnings,
            redacted=_is_redacted(gateway, caller),
        )
    )


async def _active_snapshot(gateway: Gateway) -> str:
    known = await gateway.kernel.snapshots(gateway.settings.kernel_timeout_s)
    return known[0] if known else ""


async def add_config(gateway: Gateway, question: PolicyCheckRequest) -> None:
    """Judge a question that brings no configuration under the stored one (policy spec §17.1). Raises Unavailable."""
    if not question.effective_config:
        labels = question.labels
        scope = (
            question.tenant,
            labels.get("team_id", ""),
            labels.get("workflow_id", ""),
            labels.get("step_id", ""),
        )
        question.effective_config = (await gateway.configs.get(scope)).for_policy


async def _question(
    gateway: Gateway, caller: Caller, request: Request
) -> tuple[PolicyCheckRequest, list[str]]:
    question, warnings = check_request(await json_object(request, _BODY_BYTES), caller)
    await add_config(gateway, question)
    return question, warnings


def _is_redacted(gateway: Gateway, caller: Caller) -> bool:
    return gateway.settings.evaluate_redact and not is_allowed(caller.role, "policy.read")


async def explain(gateway: Gateway, caller: Caller, request: Request) -> Response:
    """Say what would be decided and why, both from one snapshot."""
    question, warnings = await _question(gateway, caller, request)
    started_s = perf_counter()
    answer, trace = await gateway.policies.own_writes.ask(
        lambda: gateway.kernel.explain(question, gateway.settings.kernel_timeout_s),
        lambda found: found[0].policy_snapshot,
    )
    elapsed_ms = (perf_counter() - started_s) * 1e3
    await gateway.audit_writer.record(decision_event("policy.explain", caller, question, answer))
    body = decision_json(answer, eval_time_ms=elapsed_ms, warnings=warnings, redacted=False)
    body["evaluation_path"] = orjson.loads(trace).get("evaluation_path", [])
    return json_reply(body)


async def snapshots(gateway: Gateway, _caller: Caller, _request: Request) -> Response:
    """List the snapshots that were active; the first one is."""
    known = await gateway.kernel.snapshots(gateway.settings.kernel_timeout_s)
    return json_reply({"snapshots": known, "items": [{"id": snapshot} for snapshot in known]})
