"""Metrics and health probes: `/metrics`, `/health`, `/healthz`, `/readyz`, `/livez` (scheduler spec §25)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cordum.config.types import Address
from cordum.domain.errors import ConfigError, CordumError
from cordum.runtime.clock import monotonic_s
from cordum.runtime.masking import mask_text
from cordum.runtime.metrics import CONTENT_TYPE, render_metrics

__all__ = ["Check", "HealthState", "health_app", "metrics_address"]

Check = Callable[[], Awaitable[None]]
"""Returns when the dependency answers, raises when it does not."""

HEALTH_LIMIT_S: Final = 2.0
READY_LIMIT_S: Final = 1.0
STALL_LIMIT_S: Final = 5.0


@dataclass
class HealthState:
    """What the probes report. ``required`` checks decide readiness; ``soft`` ones only show in `/health`."""

    required: dict[str, Check] = field(default_factory=dict)
    soft: dict[str, Check] = field(default_factory=dict)
    started: bool = False
    stopping: bool = False
    last_tick_s: float = field(default_factory=monotonic_s)

    def tick(self) -> float:
        """Note that the event loop runs; return seconds since the last note."""
        now = monotonic_s()
        gap_s, self.last_tick_s = now - self.last_tick_s, now
        return gap_s

    @property
    def is_stalled(self) -> bool:
        """Tell whether the event loop missed its ticks for more than five seconds."""
        return monotonic_s() - self.last_tick_s > STALL_LIMIT_S


async def run_checks(checks: dict[str, Check], limit_s: float) -> dict[str, str | None]:
    """Run all checks at once; return the error text per check, None when it passed."""
    results: dict[str, str | None] = {}

    async def run(name: str, check: Check) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await check()
        except TimeoutError:
            results[name] = f"no answer within {limit_s:g} s"
        except CordumError as error:
            results[name] = mask_text(error.message)
        except Exception as error:  # any failure of a dependency is an answer here, not an accident
            results[name] = mask_text(f"{type(error).__name__}: {error}")
        else:
            results[name] = None

    async with asyncio.TaskGroup() as group:
        for name, check in checks.items():
            group.create_task(run(name, check))
    return results


def metrics_address(
    variable: str, address: Address, *, public: bool, production: bool
) -> tuple[Address, str | None]:
    """Apply the production bind rule (security spec §14).

    Returns the address to bind and a warning when it was narrowed.
    Raises ConfigError for an explicit public host.
    """
    if not production or public or address.is_loopback:
        return address, None
    if not address.host:
        return Address("127.0.0.1", address.port), f"{variable}: no host given, metrics bound to loopback"
    raise ConfigError(
        f"metrics bind rejected: {variable} names a host that is not loopback",
        hint=f"use 127.0.0.1, or set {variable.removesuffix('_ADDR')}_PUBLIC=1",
    )


def health_app(state: HealthState, pod: str | None) -> Starlette:
    """Return the probe application; ``pod`` None leaves `/metrics` out (separate health listener)."""

    async def health(_request: Request) -> Response:
        required = await run_checks(state.required, HEALTH_LIMIT_S)
        soft = await run_checks(state.soft, HEALTH_LIMIT_S)
        body: dict[str, Any] = {name: _entry("error", error) for name, error in required.items()}
        body.update({name: _entry("warn", error) for name, error in soft.items()})
        degraded = any(error is not None for error in required.values())
        return _reply(body | {"status": "degraded" if degraded else "ok"}, ok=not degraded)

    async def healthz(_request: Request) -> Response:
        stalled = state.is_stalled
        return _checks({"event_loop": "stalled" if stalled else "ok"}, ok=not stalled, word="degraded")

    async def readyz(_request: Request) -> Response:
        errors = await run_checks(state.required, READY_LIMIT_S)
        checks = {name: error or "ok" for name, error in errors.items()}
        if not state.started or state.stopping:
            checks["startup"] = "stopping" if state.stopping else "initializing"
        ok = all(text == "ok" for text in checks.values())
        return _checks(checks, ok=ok, word="degraded")

    async def livez(_request: Request) -> Response:
        word = "complete" if state.started else "initializing"
        return _checks({"startup": word}, ok=state.started, word="initializing")

    async def metrics(_request: Request) -> Response:
        return Response(render_metrics(pod or ""), media_type=CONTENT_TYPE)

    routes = [
        Route("/health", health),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/livez", livez),
    ]
    if pod is not None:
        routes.append(Route("/metrics", metrics))
    return Starlette(routes=routes)


def _entry(word: str, error: str | None) -> dict[str, str]:
    return {"status": "ok"} if error is None else {"status": word, "error": error}


def _checks(checks: dict[str, str], *, ok: bool, word: str) -> Response:
    return _reply({"status": "ok" if ok else word, "checks": checks}, ok=ok)


def _reply(body: dict[str, Any], *, ok: bool) -> Response:
    return Response(
        json.dumps(body, separators=(",", ":")), status_code=200 if ok else 503, media_type="application/json"
    )
