"""What `GET /status` says about the safety path (gateway spec §24, output policy spec §8.2, §11.6)."""

from contextlib import suppress
from typing import Any

from cordum.config.output_policy import OutputPolicySettings
from cordum.domain.errors import CordumError
from cordum.gateway.state import Gateway
from cordum.store import keys
from cordum.store.breaker import breaker_status
from cordum.store.config_documents import ConfigDocuments

__all__ = ["circuit_breakers", "output_policy_status"]


async def circuit_breakers(gateway: Gateway) -> dict[str, Any]:
    """Return the shared breakers as every replica sees them."""
    return {
        "input": await breaker_status(gateway.redis, keys.BREAKER_SAFETY),
        "output": await breaker_status(gateway.redis, keys.BREAKER_OUTPUT),
    }


async def output_policy_status(gateway: Gateway) -> dict[str, Any]:
    """Return whether outputs are checked and what happens to those that cannot be."""
    settings = OutputPolicySettings.load()
    section: dict[str, Any] = {}
    with suppress(CordumError):  # the environment's word stands then
        document = await ConfigDocuments(gateway.redis).get("system", "default")
        stored = document.data.get("scheduler") if document is not None else None
        section = stored if isinstance(stored, dict) else {}
    flag, mode = section.get("output_policy_enabled"), str(section.get("output_fail_mode") or "")
    fail_mode = mode or settings.fail_mode
    if not fail_mode:
        with suppress(CordumError):
            fail_mode = (await gateway.kernel.output_settings(gateway.settings.kernel_timeout_s)).fail_mode
    return {
        "enabled": flag if isinstance(flag, bool) else settings.enabled,
        "fail_mode": "open" if fail_mode == "open" else "closed",
    }
