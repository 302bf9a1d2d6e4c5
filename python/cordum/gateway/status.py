"""What `/status` tells (gateway spec §24): the state of the system, its inner parts to administrators only."""

import asyncio
import os
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from cordum.domain.errors import CordumError
from cordum.domain.states import JobState
from cordum.gateway.fleet import known_workers
from cordum.gateway.safety_status import circuit_breakers, output_policy_status
from cordum.gateway.state import Gateway
from cordum.runtime.clock import monotonic_s, rfc3339
from cordum.runtime.health import run_checks
from cordum.store import keys

__all__ = ["CHECK_S", "build_status"]

CHECK_S: Final = 2.0
_NAMES: Final = {state: state.value.lower() for state in JobState} | {
    JobState.OUTPUT_QUARANTINED: "quarantined"
}
_SERVICES: Final = ("api-gateway", "scheduler")
_HA_VARIABLES: Final = ("CORDUM_INSTANCE_ID", "NATS_JS_REPLICAS")


async def build_status(gateway: Gateway, tenant: str, *, is_admin: bool) -> dict[str, Any]:
    """Return the body for a caller of ``tenant``. What the store does not answer is left out or `UNKNOWN`."""
    errors = await run_checks({"nats": gateway.bus.ping, "redis": gateway.redis.ping}, CHECK_S)
    redis_ok = errors["redis"] is None
    connected = errors["nats"] is None
    body: dict[str, Any] = {
        "time": rfc3339(),
        "uptime_seconds": int(monotonic_s() - gateway.started_s),
        "build": {"version": version("cordum"), "commit": "", "date": ""},
        "nats": {"connected": connected, "status": "CONNECTED" if connected else "DISCONNECTED"},
        "redis": {"ok": redis_ok, "connected": redis_ok},
        "workers": {"count": len(await known_workers(gateway.workers, gateway.sessions)) if redis_ok else 0},
        "pipeline": await _pipeline(gateway) if redis_ok else {},
        "active_ws_clients": gateway.live.client_count,
        "goroutine_count": len(asyncio.all_tasks()),
        "license": {
            "mode": "community",
            "status": "active",
            "plan": "community",
            "valid": True,
            "tier": "community",
        },
    }
    if redis_ok:
        body["dlq"] = {"depth": await gateway.letters.size(tenant)}
    body["output_policy"] = await output_policy_status(gateway)
    if is_admin:
        body["nats"]["url"] = _without_credentials(gateway.bus.settings.urls[0])
        body |= await _inner_parts(gateway)
    return body


async def _inner_parts(gateway: Gateway) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "instance_id": gateway.instance_id,
        "rate_limiter": {"mode": "off"},
        "ha_env": {name: os.environ[name] for name in _HA_VARIABLES if name in os.environ},
        "circuit_breakers": await circuit_breakers(gateway),
    }
    try:
        replies = await gateway.redis.pipeline(
            [("GET", keys.INPUT_FAIL_OPEN), *(("ZCARD", keys.instances(name)) for name in _SERVICES)]
        )
        snapshot = await gateway.workers.load()
    except CordumError:
        return parts
    count, *replicas = (reply if not isinstance(reply, Exception) else None for reply in replies)
    parts["input_fail_open_total"] = int(count or 0)
    parts["replicas"] = {name: int(number or 0) for name, number in zip(_SERVICES, replicas, strict=True)}
    parts["snapshot_meta"] = {"captured_at": snapshot["captured_at"]} if snapshot else {}
    return parts


async def _pipeline(gateway: Gateway) -> dict[str, int]:
    tags = gateway.jobs.tags
    commands = [("ZCARD", keys.job_index(tag, state)) for state in _NAMES for tag in tags]
    counts = [reply if isinstance(reply, int) else 0 for reply in await gateway.redis.pipeline(commands)]
    width = len(tags)
    totals = {
        name: sum(counts[index * width : (index + 1) * width]) for index, name in enumerate(_NAMES.values())
    }
    # A withheld output is a failed job to those who know no other word (output policy spec §12).
    totals["failed"] += totals["quarantined"]
    return totals


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"
