"""The process `cordum-api-gateway`: connect, serve HTTP, drain (gateway spec §2)."""

import asyncio
import gc
import os
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, Final

from cordum.audit import AuditChain, ChainKeys
from cordum.bus.connection import Bus
from cordum.bus.consumer import BatchConsumer
from cordum.bus.streams import keep_streams
from cordum.config.audit import AuditSettings
from cordum.config.base import load_all
from cordum.config.gateway import GatewaySettings
from cordum.config.nats import NatsSettings
from cordum.config.redis import RedisSettings
from cordum.domain.errors import ConfigError, CordumError
from cordum.gateway.app import make_app
from cordum.gateway.auth import Authenticator
from cordum.gateway.dead_letter_cleanup import DeadLetterCleanup
from cordum.gateway.dead_letters import DeadLetterEvents
from cordum.gateway.middleware import AccessLog
from cordum.gateway.state import Gateway
from cordum.protocol import subjects
from cordum.protocol.sealing import PacketSeal
from cordum.runtime.clock import now_s, rfc3339
from cordum.runtime.http import HttpListener
from cordum.runtime.ids import new_id
from cordum.runtime.kernel_dial import open_kernel
from cordum.runtime.logs import get_logger
from cordum.runtime.service import Service, run_service, wait_for_dependency
from cordum.security.session_tokens import ServiceToken, SessionTokens
from cordum.security.signing_key import read_signer
from cordum.store.connection import RedisClient
from cordum.store.instances import Instances
from cordum.store.jobs import JobStore

__all__ = ["main", "serve"]

NAME: Final = "cordum-api-gateway"
DLQ_QUEUE: Final = "cordum-gateway"
LOG_FLUSH_S: Final = 0.2
_SETTLE_S: Final = 30.0
_BEAT_S: Final = 5.0
WS_MAX_BYTES: Final = 64 * 1024
HEADERS_MAX_BYTES: Final = 1 << 20

_log = get_logger()


def main() -> None:
    """Entry point of the console script."""
    run_service(NAME, GatewaySettings.load, serve)


async def serve(service: Service, settings: GatewaySettings) -> None:
    """Run the gateway until the stop is requested."""
    nats_settings, redis_settings, audit = load_all(NatsSettings, RedisSettings, AuditSettings)
    chain_keys = ChainKeys(audit.key, audit.key_id, audit.older_keys(os.environ))
    auth = Authenticator(settings)
    kernel = open_kernel(settings, production=settings.production)
    if settings.allow_no_auth:
        _log.warning("requests without credential are admitted", reason="CORDUM_ALLOW_INSECURE_NO_AUTH")
    async with AsyncExitStack() as stack:
        redis = await wait_for_dependency("redis", lambda: RedisClient.open(redis_settings))
        stack.push_async_callback(redis.close)
        jobs = await wait_for_dependency("redis", lambda: JobStore.open(redis, settings))
        bus = await wait_for_dependency("nats", lambda: Bus.open(nats_settings, NAME))
        stack.push_async_callback(bus.close)
        _seal(settings, bus)
        await keep_streams(bus, nats_settings)
        stack.push_async_callback(kernel.close)
        chain = AuditChain(redis, chain_keys)
        gateway = Gateway(
            settings,
            redis,
            jobs,
            bus,
            kernel,
            service.instance_id,
            auth,
            chain,
            audit.chain_fail == "strict",
            audit.buffer_size,
        )
        await _run(service, settings, nats_settings, gateway)


async def _run(
    service: Service, settings: GatewaySettings, nats_settings: NatsSettings, gateway: Gateway
) -> None:
    service.health.required |= {"redis": gateway.redis.ping, "nats": gateway.bus.ping}
    service.listen_health("GATEWAY_METRICS_ADDR", settings.metrics_addr, public=settings.metrics_public)
    access_log = AccessLog(text=settings.log_format == "text")
    durable = subjects.durable_name(DLQ_QUEUE, subjects.DLQ)
    letters = DeadLetterEvents(gateway.jobs, gateway.letters, gateway.blobs, durable)
    consumer = BatchConsumer(
        gateway.bus, subjects.STREAM_SYS, subjects.DLQ, DLQ_QUEUE, nats_settings, letters.handle
    )
    listener = HttpListener(
        make_app(gateway, access_log),
        settings.http_addr.bind_host,
        settings.http_addr.port,
        **_http_options(settings),
    )
    # A restored backup may hold only the mirror, and the first request may already read or write policy.
    await _align_mirror(gateway)
    spawn = service.supervisor.spawn
    spawn("access log", lambda: _flush(access_log), on_error="restart")
    spawn("api keys", gateway.auth.follow_file, on_error="restart")
    spawn("policy audit", lambda: _settle_audit(gateway), on_error="restart")
    auditing = spawn("audit events", gateway.audit_writer.run, on_error="restart")
    spawn("dead-letter clean-up", DeadLetterCleanup(gateway.redis, gateway.letters).run, on_error="restart")
    spawn("instance", lambda: _beat(service, gateway), on_error="restart")
    spawn("draining pools", gateway.drains.run, on_error="restart")
    live = spawn("live streams", gateway.live.run, on_error="restart")
    submits = spawn("submissions", gateway.submitter.run, on_error="stop")
    consuming = spawn("dead letters", consumer.run, on_error="restart")
    http = spawn("http", listener.serve, on_error="stop")
    # What lives now lives as long as the process: no garbage collection has to look at it again.
    gc.collect()
    gc.freeze()
    service.mark_started()
    _log.info("listening", listener="http", address=f"{settings.http_addr.bind_host}:{listener.port}")
    await service.stop_requested()
    # Readiness says no first; then streams, requests in flight, submissions, the consumer.
    gateway.is_stopping = True
    gateway.live.stop()
    listener.stop()
    await asyncio.wait((live, http))
    gateway.submitter.stop()
    consumer.stop()
    await asyncio.wait((submits, consuming))
    gateway.audit_writer.stop()
    await asyncio.wait((auditing,))
    access_log.flush()


def _seal(settings: GatewaySettings, bus: Bus) -> None:
    """Show the scheduler who submits and cancels, where it asks (protocol spec §15.2). Raises ConfigError."""
    if settings.handshake != "enforce":
        return
    signer = read_signer(settings)
    if signer is None:
        raise ConfigError(
            "CORDUM_SDK_HANDSHAKE: `enforce` expects an Ed25519 key in CORDUM_POLICY_SIGNING_KEY or "
            "CORDUM_POLICY_SIGNING_KEY_PATH"
        )
    seal = PacketSeal()
    seal.token = ServiceToken(SessionTokens(signer), "gateway", new_id, now_s)
    bus.seal = seal


def _http_options(settings: GatewaySettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "http": "httptools",
        "ws": "websockets-sansio",
        "ws_max_size": WS_MAX_BYTES,
        "ws_ping_interval": settings.ws_ping_interval_s,
        "ws_ping_timeout": settings.ws_pong_timeout_s,
        "ws_per_message_deflate": False,
        # Nothing reads the peer address, so nobody's word about it is needed.
        "proxy_headers": False,
        "timeout_keep_alive": max(1, int(settings.http_idle_timeout_s)),
        "h11_max_incomplete_event_size": HEADERS_MAX_BYTES,
        "date_header": True,
    }
    if settings.http_tls_cert:
        options |= {"ssl_certfile": settings.http_tls_cert, "ssl_keyfile": settings.http_tls_key}
    return options


async def _align_mirror(gateway: Gateway) -> None:
    try:
        await gateway.policies.align_mirror()
    except CordumError as error:
        _log.error("policy document and its mirror not compared", reason=error.message)


async def _settle_audit(gateway: Gateway) -> None:
    """Bring events that a crash or an outage kept from the audit chain there."""
    while True:
        try:
            await gateway.policies.settle_audit()
        except CordumError as error:
            _log.warning("audit event of the last policy change still waits", reason=error.message)
        await asyncio.sleep(_SETTLE_S)


async def _beat(service: Service, gateway: Gateway) -> None:
    """Show that this process lives (scheduler spec §1)."""
    record = {"version": version("cordum"), "commit": "", "started_at": rfc3339()}
    instances = Instances(gateway.redis, "api-gateway", service.instance_id, record)
    while True:
        try:
            await instances.beat(now_s())
        except CordumError as error:
            _log.warning("instance not shown", reason=error.message)
        await asyncio.sleep(_BEAT_S)


async def _flush(access_log: AccessLog) -> None:
    while True:
        await asyncio.sleep(LOG_FLUSH_S)
        access_log.flush()


if __name__ == "__main__":
    main()
