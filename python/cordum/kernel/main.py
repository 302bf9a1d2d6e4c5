"""The process `cordum-safety-kernel`: load the policy, serve it, follow its changes, drain."""

import asyncio
from contextlib import suppress
from typing import Final

from cordum.config.kernel import KernelSettings
from cordum.config.nats import NatsSettings
from cordum.config.redis import RedisSettings
from cordum.domain.errors import ConfigError, Unavailable
from cordum.kernel.agents import AgentDirectory
from cordum.kernel.bundle_source import BundleSource
from cordum.kernel.decision_cache import DecisionCache
from cordum.kernel.decisions import DecisionWriter, SharedRedis
from cordum.kernel.evaluator import Evaluator
from cordum.kernel.notices import PolicyNotices
from cordum.kernel.outputs import OutputChecks, build_detectors
from cordum.kernel.replay import Replays
from cordum.kernel.service import KernelServer
from cordum.kernel.signed_source import SignedSource, TextSource, trusted_keys
from cordum.kernel.snapshots import PolicyStore
from cordum.kernel.source import FileSource
from cordum.kernel.url_source import UrlSource
from cordum.kernel.velocity import VelocityGate
from cordum.runtime.logs import get_logger
from cordum.runtime.service import Service, run_service
from cordum.store.connection import RedisClient

__all__ = ["first_load", "main"]

_DEBOUNCE_S: Final = 0.2
_STORE_RETRY_S: Final = 2.0

_log = get_logger()


def main() -> None:
    """Entry point of the console script."""
    run_service("cordum-safety-kernel", KernelSettings.load, serve)


async def serve(service: Service, settings: KernelSettings) -> None:
    """Run the kernel until the stop is requested."""
    keys = trusted_keys(settings)
    base = SignedSource(base_source(settings), keys, settings)
    redis = SharedRedis(lambda: RedisClient.open(RedisSettings.load()))
    bundles = notices = None
    if not settings.config_disable:
        bundles = BundleSource(redis, keys, settings)
        notices = PolicyNotices(NatsSettings.load(), settings.config_scope, settings.config_id)
    policies = PolicyStore(base, bundles, settings=settings)
    await first_load(policies, settings)
    await build_detectors()
    decisions = DecisionWriter(redis, settings)
    velocity = VelocityGate(redis, fail_open=settings.velocity_fail_mode == "open")
    server = KernelServer(
        settings,
        policies,
        decisions=decisions,
        replays=Replays(policies, redis),
        evaluator=Evaluator(velocity, AgentDirectory(redis), decision_cache(settings)),
        outputs=OutputChecks(redis, settings.output_max_scan_bytes),
    )

    async def policy_is_loaded() -> None:
        if not policies.is_loaded:
            raise Unavailable(policies.failure.message if policies.failure else "no policy loaded")

    service.health.required["policy"] = policy_is_loaded
    if bundles is not None:
        service.health.soft["redis"] = bundles.ping
    service.listen_health("SAFETY_KERNEL_ADMIN_ADDR", settings.admin_addr, public=settings.metrics_public)
    await server.start()
    await server.report_health()
    changed = notices.changed if notices is not None else asyncio.Event()
    if notices is not None:
        service.supervisor.spawn("policy notices", notices.run, on_error="restart")
    service.supervisor.spawn(
        "policy reload", lambda: follow(server, policies, settings, changed), on_error="restart"
    )
    service.supervisor.spawn("velocity statistics", velocity.keep_statistics, on_error="restart")
    service.supervisor.spawn("decision log", decisions.run, on_error="restart")
    service.mark_started()
    await service.stop_requested()
    await server.stop()
    await decisions.flush()
    await redis.close()


def decision_cache(settings: KernelSettings) -> DecisionCache | None:
    """Return the cache the settings ask for, None when it is off."""
    if settings.cache_ttl_s <= 0:
        return None
    return DecisionCache(settings.cache_ttl_s, settings.cache_size)


def base_source(settings: KernelSettings) -> TextSource:
    """Return where the base policy comes from: the URL if one is set, else the file."""
    if settings.policy_url:
        return UrlSource(settings)
    return FileSource(settings.policy_path, settings.policy_max_bytes)


async def first_load(policies: PolicyStore, settings: KernelSettings) -> None:
    """Load the policy at start.

    Raises ConfigError when a bundle is refused, and for any bad policy in production or where signatures are
    required. Redis being away is waited for; whoever has no policy denies everything.
    """
    if await policies.reload() != "error":
        return
    reason = policies.failure.message if policies.failure else "unknown reason"
    if not policies.waits_for_store and (settings.needs_signature or policies.refused_bundles):
        raise ConfigError(reason, hint="fix the policy; a refused one is never served in part")
    _log.error("no policy loaded, denying everything", reason=reason)


async def follow(
    server: KernelServer, policies: PolicyStore, settings: KernelSettings, changed: asyncio.Event
) -> None:
    """Look at the policy every reload interval and after every notice; keep the health report current."""
    while True:
        pause_s = settings.reload_interval_s
        if policies.waits_for_store:
            pause_s = min(pause_s, _STORE_RETRY_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await changed.wait()
                await asyncio.sleep(_DEBOUNCE_S)
        changed.clear()
        if await policies.reload() == "ok":
            await server.report_health()


if __name__ == "__main__":
    main()
