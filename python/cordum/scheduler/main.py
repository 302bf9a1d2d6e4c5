"""`cordum-scheduler`: wiring and the written start and stop sequences (scheduler spec §25)."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from importlib.metadata import version
from typing import Any

from nats.aio.msg import Msg
from prometheus_client import REGISTRY

from cordum.audit import AuditChain, AuditWriter, ChainKeys
from cordum.bus.connection import RECONNECT_WAIT_S, Bus
from cordum.bus.consumer import BatchConsumer
from cordum.bus.streams import keep_streams
from cordum.bus.subscriptions import CoreSubscription
from cordum.config.audit import AuditSettings
from cordum.config.base import load_all
from cordum.config.nats import NatsSettings
from cordum.config.redis import RedisSettings, StoreSettings
from cordum.config.scheduler import SchedulerSettings
from cordum.config.worker_trust import WorkerTrustSettings
from cordum.domain.errors import ConfigError, Unavailable
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, Handshake
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime import failpoints
from cordum.runtime.clock import now_s, now_us
from cordum.runtime.ids import new_id
from cordum.runtime.kernel_dial import open_kernel
from cordum.runtime.logs import get_logger
from cordum.runtime.service import Service, run_service, wait_for_dependency
from cordum.scheduler.background import background
from cordum.scheduler.gauges import keep_dead_letter_depth
from cordum.scheduler.parts import NAME, Ground, Parts, ResultLane
from cordum.scheduler.routing_files import RoutingFiles
from cordum.scheduler.worker_ages import WorkerAges
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from cordum.store.schedule import parked_counts

Loop = Callable[[], Coroutine[Any, Any, None]]
_BEAT_S = 5.0
_ANSWERING_RECONNECT_S = 0.2

_log = get_logger()


class Scheduler:
    """One scheduler process: what runs in it, how it starts and stops."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.service = ground.service
        self.parts = Parts(ground)
        self.consumers: list[BatchConsumer] = []
        self.subscriptions: list[CoreSubscription] = []
        self._consuming: list[asyncio.Task[None]] = []
        self._auditing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Configuration, registry, subscriptions, loops. Raises ConfigError or Unavailable."""
        parts = self.parts
        REGISTRY.register(WorkerAges(parts.planner))
        await self._note_replicas()
        await parts.configuration.start()
        await parts.outputs.modes.start()
        await parts.registry.warm_start()
        await parts.trust.start(self.service)
        self.ground.bus.on_reconnect(parts.departures.deaf)
        self._subscribe()
        self._consuming = [
            self._spawn(f"consumer {consumer.durable}", consumer.run) for consumer in self.consumers
        ]
        self._auditing = self._spawn("audit events", self.ground.audit.run)
        for name, task in (*self._loops().items(), *self._sweeps().items(), *parts.outputs.tasks().items()):
            self._spawn(name, task)
        for subscription in self.subscriptions:
            await self._wait_ready(subscription)
        await self._announce()
        self.service.mark_started()

    def _spawn(self, name: str, task: Loop) -> asyncio.Task[None]:
        return self.service.supervisor.spawn(name, task, on_error="restart")

    def _loops(self) -> dict[str, Loop]:
        parts, redis, jobs = self.parts, self.ground.redis, self.ground.jobs
        return {
            "side writes": parts.side.run,
            "sagas": parts.sagas.run,
            "wheel": parts.wheel.run,
            "capacity": parts.wheel.watch_capacity,
            "worker snapshot": self._keep_snapshot,
            "configuration": parts.configuration.keep_current,
            "dead letters": lambda: keep_dead_letter_depth(parts.letters),
            "fail modes": parts.fail_modes.run,
            "safety kernel": parts.safety.watch.run,
            "instance": self._beat,
            "store probes": lambda: parts.pace.run_probes(redis.ping),
            "parked jobs": lambda: parts.pace.run_counting(lambda: parked_counts(jobs)),
        }

    def _sweeps(self) -> dict[str, Loop]:
        parts = self.parts
        reconciler, replay = background(parts, self.ground.bus, self.ground.jobs)
        return {
            "reconciler": lambda: reconciler.run(lambda: parts.configuration.scan_interval_s),
            "settling": reconciler.run_settling,
            "replay": lambda: replay.run(lambda: parts.configuration.scan_interval_s),
        }

    def _subscribe(self) -> None:
        settings = self.ground.settings
        for subject, handler in (
            (subjects.SUBMIT, self.parts.trust.submits(self.parts.submits.handle)),
            (subjects.RESULT, self.parts.trust.results(self.parts.results.handle, settings.worker_ttl_s)),
        ):
            self.consumers.append(
                BatchConsumer(
                    self.ground.results.bus if subject == subjects.RESULT else self.ground.bus,
                    subjects.STREAM_SYS,
                    subject,
                    NAME,
                    self.ground.nats,
                    handler,
                    batch_max=settings.batch_max,
                    linger_ms=settings.batch_linger_ms,
                    # Results arrive one by one while their dispatches go out; handling one batch at a time
                    # lets the next one grow meanwhile, which costs less per job than two small ones.
                    in_flight=1 if subject == subjects.RESULT else settings.batches_in_flight,
                    batch_limit=None if subject == subjects.RESULT else self.parts.submits.batch_limit,
                )
            )
        submits, results = self.consumers
        self.parts.pace.attach(submits, results)
        self.parts.submits.is_backed_up = lambda: submits.is_backed_up
        core = (
            (subjects.HEARTBEAT, self._on_heartbeats, ""),
            (subjects.HANDSHAKE, self.parts.registry.on_presence, ""),
            (subjects.CONFIG_CHANGED, self._on_config_changed, ""),
            (subjects.CANCEL, self.parts.trust.core(self.parts.events.on_cancel), NAME),
            (subjects.PROGRESS, self.parts.trust.core(self.parts.evidence.on_progress), NAME),
        )
        for subject, on_messages, queue in core:
            subscription = CoreSubscription(self.ground.bus, subject, on_messages, queue=queue)
            self.subscriptions.append(subscription)
            self._spawn(f"subscription {subject}", subscription.run)
        for subject, subscription in self.parts.trust.subscriptions():
            self.subscriptions.append(subscription)
            self._spawn(f"subscription {subject}", subscription.run)

    async def _wait_ready(self, subscription: CoreSubscription) -> None:
        async with asyncio.timeout(10):
            await subscription.ready.wait()

    async def _on_heartbeats(self, messages: list[Msg]) -> None:
        await self.parts.registry.on_presence(messages)
        await self.parts.evidence.on_heartbeats()

    async def _on_config_changed(self, _messages: list[Msg]) -> None:
        self.parts.configs.drop()
        self.parts.configuration.changed.set()
        self.parts.outputs.modes.changed.set()
        self.parts.trust.credentials_changed()

    async def _keep_snapshot(self) -> None:
        await self.parts.registry.keep_snapshot(self.ground.settings.snapshot_interval_s)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            await self._note_replicas()

    async def _note_replicas(self) -> None:
        """Show that this replica lives, and learn who else does."""
        live = await self.parts.instances.beat(now_s())
        self.parts.planner.set_replicas(len(live))
        self.parts.wheel.share(self.service.instance_id, live)

    async def _announce(self) -> None:
        """Publish our handshake, best effort (protocol spec §13)."""
        handshake = Handshake(
            component_id="scheduler", role=2, supported_versions=[1], sdk_version=version("cordum")
        )
        for capability in ("safety_check", "routing", "compensation"):
            handshake.capabilities[capability] = True
        packet = BusPacket(trace_id=new_id(), sender_id="scheduler", protocol_version=1, handshake=handshake)
        packet.created_at.FromMicroseconds(now_us())
        try:
            await self.ground.bus.publish_core(
                subjects.HANDSHAKE, packet.SerializeToString(deterministic=True)
            )
        except Unavailable as error:
            _log.warning("handshake not published", error=str(error))

    async def stop(self) -> None:
        """Stop intake, finish batches, flush, leave."""
        self.parts.safety.stopping = True
        for stoppable in _stoppables(self.consumers, self.subscriptions):
            stoppable.stop()
        await self._drained()
        await self.parts.side.flush()
        self.ground.audit.stop()
        if self._auditing is not None:
            await asyncio.wait((self._auditing,))
        await self.parts.instances.leave()
        await self.ground.kernel.close()

    async def _drained(self) -> None:
        """Return when every consumer has ended; started batches finish within their drain time."""
        for task in self._consuming:
            await task


def _stoppables(
    consumers: Iterable[BatchConsumer], subscriptions: Iterable[CoreSubscription]
) -> list[BatchConsumer | CoreSubscription]:
    return [*consumers, *subscriptions]


async def serve(service: Service, settings: SchedulerSettings) -> None:
    """Run the scheduler until the stop signal. Raises ConfigError, Unavailable."""
    if service.production and settings.policy_fail_mode == "open":
        raise ConfigError("POLICY_CHECK_FAIL_MODE: expected `closed` in production")
    # Wrong files are told at once, whatever else is missing.
    files = RoutingFiles(settings, production=service.production)
    kernel = open_kernel(settings, production=service.production)
    failpoints.arm(settings.failpoints, production=service.production)
    redis_settings, store_settings, nats_settings, trust, audit_settings = load_all(
        RedisSettings, StoreSettings, NatsSettings, WorkerTrustSettings, AuditSettings
    )
    chain_keys = ChainKeys(audit_settings.key, audit_settings.key_id, audit_settings.older_keys(os.environ))
    service.listen_health("SCHEDULER_METRICS_ADDR", settings.metrics_addr, public=settings.metrics_public)
    redis = await wait_for_dependency("redis", lambda: RedisClient.open(redis_settings))
    # A worker that enforces its session gives up 0.4 s after it is back on the bus and nobody answers.
    wait_s = _ANSWERING_RECONNECT_S if trust.has_proof_key else RECONNECT_WAIT_S
    bus = await wait_for_dependency("nats", lambda: Bus.open(nats_settings, reconnect_wait_s=wait_s))
    await keep_streams(bus, nats_settings)
    jobs = await JobStore.open(redis, store_settings)
    audit = AuditWriter(AuditChain(redis, chain_keys), audit_settings.buffer_size)
    results_redis = await wait_for_dependency("redis", lambda: RedisClient.open(redis_settings))
    results_bus = await wait_for_dependency("nats", lambda: Bus.open(nats_settings))
    await keep_streams(results_bus, nats_settings)
    lane = ResultLane(results_bus, await JobStore.open(results_redis, store_settings))
    scheduler = Scheduler(
        Ground(
            service,
            settings,
            trust,
            store_settings,
            nats_settings,
            redis,
            bus,
            jobs,
            audit,
            lane,
            kernel,
            files,
        )
    )
    service.health.required |= {"redis": redis.ping, "nats": bus.ping}
    service.health.soft["safety"] = lambda: _check_kernel(kernel)
    await scheduler.start()
    await service.stop_requested()
    await scheduler.stop()
    for connection in (results_bus, bus, results_redis, redis):
        await connection.close()


async def _check_kernel(kernel: PolicyClient) -> None:
    if not await kernel.is_serving():
        raise Unavailable("safety kernel is not serving")


def main() -> None:
    """Entry point of the console script."""
    run_service(NAME, SchedulerSettings.load, serve)


if __name__ == "__main__":
    main()
