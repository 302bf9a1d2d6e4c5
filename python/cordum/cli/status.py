"""The table of `cordumctl status` (CLI spec §6)."""

import sys
from datetime import datetime, timedelta
from typing import Any, Final

from cordum.cli.output import Printer

__all__ = ["print_status"]

_SHOWN: Final = ("pending", "dispatched", "running", "failed", "denied")
_UNLIMITED: Final = -1


def print_status(gateway: str, body: dict[str, Any], usage: dict[str, Any]) -> None:
    """Print the state of the control plane, and the use of the licence where it is known."""
    build, nats, redis = body.get("build", {}), body.get("nats", {}), body.get("redis", {})
    pipeline = body.get("pipeline", {})
    lines = {
        "Gateway": gateway,
        "Build": _build(build),
        "Time": f"{body.get('time', '-')}   Uptime {_span(int(body.get('uptime_seconds', 0)))}",
        "Workers": str(body.get("workers", {}).get("count", 0)),
        "NATS": "connected" if nats.get("connected") else "disconnected",
        "Redis": "ok" if redis.get("ok") else "down",
        "Pipeline": "  ".join(f"{name} {pipeline.get(name, 0)}" for name in _SHOWN) if pipeline else "-",
        "Breakers": _breakers(body.get("circuit_breakers") or {}),
        "Tier": _tier(body.get("license", {}), str(body.get("time", ""))),
    }
    for name, text in lines.items():
        if text:
            sys.stdout.write(f"{name:<10}{text}\n")
    metrics = usage.get("usage") or usage.get("metrics")
    if isinstance(metrics, dict) and metrics:
        sys.stdout.write("\n")
        Printer().table(["METRIC", "CURRENT", "LIMIT", "DETAILS"], [_usage(n, m) for n, m in metrics.items()])


def _build(build: dict[str, Any]) -> str:
    known = [part for part in (build.get("commit"), build.get("date")) if part]
    return str(build.get("version", "-")) + (f" ({', '.join(known)})" if known else "")


def _span(seconds: int) -> str:
    """Return a span in its two largest units: `1d 0h`, `5m 20s`."""
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {seconds % 60}s"


def _breakers(breakers: dict[str, Any]) -> str:
    """Return the states of the circuit breakers; only administrators are told them."""
    return "  ".join(f"{name} {state.get('state', '-')}" for name, state in breakers.items())


def _tier(licence: dict[str, Any], now: str) -> str:
    tier = str(licence.get("tier") or licence.get("plan") or "-")
    expires = str(licence.get("expires_at") or "")
    if not expires:
        return tier
    try:
        left = datetime.fromisoformat(expires) - datetime.fromisoformat(now)
    except (TypeError, ValueError):
        return f"{tier}   Expires {expires}"
    # A day that has begun still counts.
    return f"{tier}   Expires {expires[:10]} ({-(-left // timedelta(days=1))} days)"


def _usage(name: str, metric: Any) -> list[Any]:
    if not isinstance(metric, dict):
        return [name, metric, None, None]
    limit = metric.get("allowed", metric.get("limit"))
    details = metric.get("details")
    if isinstance(details, dict):
        details = ", ".join(f"{key} {value}" for key, value in details.items())
    return [name, metric.get("current"), "unlimited" if limit == _UNLIMITED else limit, details]
