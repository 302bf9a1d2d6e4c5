"""Probes and status (gateway spec §24)."""

from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.routing import Route

from cordum.gateway.api import ANY, Api
from cordum.gateway.http import json_reply
from cordum.gateway.state import Gateway
from cordum.gateway.status import CHECK_S, build_status
from cordum.runtime.clock import monotonic_s
from cordum.runtime.health import Check, run_checks
from cordum.security.principal import Caller

__all__ = ["add_health_routes"]

STATUS_CACHE_S: Final = 2.0


def add_health_routes(app: FastAPI, api: Api, gateway: Gateway) -> None:
    """Register the probes, which need no credential, and the status."""
    probes = _Probes(gateway)
    for path, endpoint in (
        ("/health", probes.health),
        ("/livez", probes.livez),
        ("/healthz", probes.readyz),
        ("/readyz", probes.readyz),
    ):
        app.router.routes.append(Route(path, endpoint))
    api.add("GET", "/health", ANY, probes.health_for, summary="Health of the gateway")
    api.add("GET", "/status", ANY, _Status(gateway).show, summary="State of the system")


class _Probes:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def health_for(self, _gateway: Gateway, _caller: Caller, request: Request) -> Response:
        return await self.health(request)

    async def health(self, _request: Request) -> Response:
        checks: dict[str, Check] = {"nats": self._gateway.bus.ping, "redis": self._gateway.redis.ping}
        errors = await run_checks(checks, CHECK_S)
        broken = {name: error for name, error in errors.items() if error is not None}
        body: dict[str, Any] = {
            "status": "unhealthy" if broken else "healthy",
            "nats": "disconnected" if "nats" in broken else "connected",
            "redis": "error" if "redis" in broken else "ok",
        }
        if broken:
            body["error"] = f"{' and '.join(sorted(broken))} not reachable"
        return json_reply(body, 503 if broken else 200)

    async def livez(self, _request: Request) -> Response:
        return json_reply({"status": "ok", "checks": {"event_loop": "ok"}})

    async def readyz(self, _request: Request) -> Response:
        checks: dict[str, Check] = {"nats": self._gateway.bus.ping, "redis": self._gateway.redis.ping}
        errors = await run_checks(checks, CHECK_S)
        words = {name: "error" if error else "ok" for name, error in errors.items()}
        # Without the kernel jobs are still accepted and held, so it does not decide readiness.
        serving = await self._gateway.kernel.is_serving()
        ready = set(words.values()) == {"ok"} and not self._gateway.is_stopping
        words["safety_kernel"] = "ok" if serving else "unreachable"
        if self._gateway.is_stopping:
            words["shutdown"] = "stopping"
        return json_reply({"status": "ok" if ready else "degraded", "checks": words}, 200 if ready else 503)


class _Status:
    """`/status`, cached per tenant and role: an admin's view is never served to another role."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._cache: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}

    async def show(self, _gateway: Gateway, caller: Caller, _request: Request) -> Response:
        key = (caller.tenant, caller.role)
        cached = self._cache.get(key)
        if cached is not None and monotonic_s() - cached[0] < STATUS_CACHE_S:
            return json_reply(cached[1], headers={"X-Cache": "HIT"})
        is_admin = caller.role in {"admin", "secops"}
        body = await build_status(self._gateway, caller.tenant, is_admin=is_admin)
        if len(self._cache) > 1_000:
            self._cache.clear()
        self._cache[key] = (monotonic_s(), body)
        return json_reply(body, headers={"X-Cache": "MISS"})
