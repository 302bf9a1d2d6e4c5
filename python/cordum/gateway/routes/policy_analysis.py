"""Analysis of a policy before it is published: `POST /api/v1/policy/analyze`."""

import asyncio
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from cordum._core import PolicyError, analyze_policy
from cordum.domain.errors import InvalidInput, LimitExceeded, NotFound
from cordum.domain.policy_problems import problem_json
from cordum.gateway.api import Api, require
from cordum.gateway.http import json_object, json_reply
from cordum.gateway.state import Gateway
from cordum.security.principal import Caller
from cordum.store.policy_bundles import enabled_sources, parse_bundles

__all__ = ["add_analysis_routes"]

_BODY_BYTES: Final = 4 * 1024 * 1024
_CONTENT_BYTES: Final = 2 * 1024 * 1024
_AT_ONCE: Final = 1
"""An analysis takes a processor for up to ten seconds; more of them would starve submissions."""
_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"content": {"type": "string"}, "bundle_id": {"type": "string"}},
}

Sources = tuple[bytes | None, list[tuple[str, bytes]]]


def add_analysis_routes(api: Api) -> None:
    """Register the routes."""
    running = asyncio.Semaphore(_AT_ONCE)

    async def analyze(gateway: Gateway, caller: Caller, request: Request) -> Response:
        """Say which rules can never decide and which contradict, each with a request that shows it."""
        base, bundles = await _sources(gateway, caller, await json_object(request, _BODY_BYTES))
        if running.locked():
            raise LimitExceeded("another analysis is running", hint="try again in a few seconds")
        async with running:
            return json_reply(await asyncio.to_thread(lambda: _analyze(base, bundles, gateway.scanners())))

    api.add(
        "POST",
        "/policy/analyze",
        "policy.evaluate",
        analyze,
        summary="Prove what is wrong with a policy",
        body=_BODY,
    )


async def _sources(gateway: Gateway, caller: Caller, body: dict[str, Any]) -> Sources:
    """The document alone, or the stored bundles with one of them enabled and perhaps replaced."""
    content, bundle_id = _text(body, "content"), _text(body, "bundle_id").replace("~", "/")
    if len(content.encode()) > _CONTENT_BYTES:
        raise InvalidInput(f"content: expected at most {_CONTENT_BYTES} bytes", field="content")
    if not bundle_id:
        if not content.strip():
            raise InvalidInput("content or bundle_id required", field="content")
        return content.encode(), []
    # Findings name rules of the other bundles.
    require(caller, "policy.read")
    stored, _ = await gateway.policies.read()
    if not content.strip() and bundle_id not in stored:
        raise NotFound("bundle not found")
    changed = {**stored.get(bundle_id, {}), "enabled": True}
    if content.strip():
        changed["content"] = content
    return None, enabled_sources(parse_bundles({**stored, bundle_id: changed}))


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected a text", field=name)
    return value


def _analyze(base: bytes | None, bundles: list[tuple[str, bytes]], scanners: bytes | None) -> Any:
    try:
        return orjson.loads(analyze_policy(base, bundles, scanners))
    except PolicyError as error:
        problems = [problem_json(*problem) for problem in error.errors]
        raise InvalidInput(
            f"invalid policy content: {str(error)[:4_000]}",
            code="POLICY_VALIDATION_FAILED",
            details={"errors": problems},
        ) from error
