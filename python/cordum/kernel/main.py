"""The process `cordum-safety-kernel`: load the policy, serve it, follow its changes, drain."""

import asyncio

from cordum.config.kernel import KernelSettings
from cordum.config.redis import RedisSettings
from cordum.domain.errors import ConfigError, Unavailable
from cordum.kernel.decisions import DecisionWriter, SharedRedis
from cordum.kernel.replay import Replays
from cordum.kernel.service import KernelServer
from cordum.kernel.signed_source import SignedSource, trusted_keys
from cordum.kernel.snapshots import PolicyStore
from cordum.kernel.source import FileSource
from cordum.runtime.logs import get_logger
from cordum.runtime.service import Service, run_service
from cordum.store.connection import RedisClient

__all__ = ["first_load", "main"]

_log = get_logger()


def main() -> None:
    """Entry point of the console script."""
    run_service("cordum-safety-kernel", KernelSettings.load, serve)


async def serve(service: Service, settings: KernelSettings) -> None:
    """Run the kernel until the stop is requested."""
    refuse_unsupported(settings)
    file = FileSource(settings.policy_path, settings.policy_max_bytes)
    policies = PolicyStore(SignedSource(file, trusted_keys(settings), settings))
    await first_load(policies, settings)
    redis = SharedRedis(lambda: RedisClient.open(RedisSettings.load()))
    decisions = DecisionWriter(redis, settings)
    server = KernelServer(settings, policies, decisions=decisions, replays=Replays(policies, redis))

    async def policy_is_loaded() -> None:
        if not policies.is_loaded:
            raise Unavailable(policies.failure.message if policies.failure else "no policy loaded")

    service.health.required["policy"] = policy_is_loaded
    service.listen_health("SAFETY_KERNEL_ADMIN_ADDR", settings.admin_addr, public=settings.metrics_public)
    await server.start()
    await server.report_health()
    service.supervisor.spawn("policy reload", lambda: follow(server, policies, settings), on_error="restart")
    service.supervisor.spawn("decision log", decisions.run, on_error="restart")
    service.mark_started()
    await service.stop_requested()
    await server.stop()
    await decisions.flush()
    await redis.close()


def refuse_unsupported(settings: KernelSettings) -> None:
    """Raise ConfigError for settings whose promise this version cannot keep."""
    if settings.policy_url:
        raise ConfigError("SAFETY_POLICY_URL: remote policies are not supported by this version")


async def first_load(policies: PolicyStore, settings: KernelSettings) -> None:
    """Load the policy at start. Without a good one production, and whoever requires signatures, raises ConfigError;
    others deny everything."""
    if await policies.reload() != "error":
        return
    reason = policies.failure.message if policies.failure else "unknown reason"
    if settings.needs_signature:
        raise ConfigError(reason, hint="production does not start without a valid, signed policy")
    _log.error("no policy loaded, denying everything", reason=reason)


async def follow(server: KernelServer, policies: PolicyStore, settings: KernelSettings) -> None:
    """Look at the policy every reload interval and keep the health report current."""
    while True:
        await asyncio.sleep(settings.reload_interval_s)
        if await policies.reload() == "ok":
            await server.report_health()


if __name__ == "__main__":
    main()
