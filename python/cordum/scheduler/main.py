"""`cordum-scheduler`: wiring and the written start and stop sequences (scheduler spec §25)."""

import asyncio
import os
from collections.abc import Iterable
from importlib.metadata import version
from typing import NamedTuple

from nats.aio.msg import Msg
from prometheus_client import REGISTRY

from cordum._core import Planner
from cordum.audit import AuditChain, AuditWriter, ChainKeys
from cordum.bus.connection import RECONNECT_WAIT_S, Bus
from cordum.bus.consumer import BatchConsumer
from cordum.bus.publisher import Publisher
from cordum.bus.streams import keep_streams
from cordum.bus.subscriptions import CoreSubscription
from cordum.config.audit import AuditSettings
from cordum.config.base import load_all
from cordum.config.nats import NatsSettings
from cordum.config.output_policy import OutputPolicySettings
from cordum.config.redis import RedisSettings, StoreSettings
from cordum.config.scheduler import SchedulerSettings
from cordum.config.worker_trust import WorkerTrustSettings
from cordum.domain.errors import ConfigError, Unavailable
from cordum.domain.worker_credentials import WorkerCredential
from cordum.licensing import UNLIMITED
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, Handshake
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime import failpoints
from cordum.runtime.clock import monotonic_s, now_s, now_us, rfc3339
from cordum.runtime.ids import new_id
from cordum.runtime.kernel_dial import open_kernel
from cordum.runtime.logs import get_logger
from cordum.runtime.service import Service, run_service, wait_for_dependency
from cordum.scheduler.admission import Admission
from cordum.scheduler.background import background
from cordum.scheduler.boundary import Boundary
from cordum.scheduler.cancel import BusEvents
from cordum.scheduler.compensation import Compensations
from cordum.scheduler.configuration import Configuration
from cordum.scheduler.duties import Duties
from cordum.scheduler.evidence import Evidence
from cordum.scheduler.fail_mode import FailModes
from cordum.scheduler.gauges import keep_dead_letter_depth
from cordum.scheduler.lost import Departures
from cordum.scheduler.output_policy import OutputPolicy
from cordum.scheduler.pace import Pace
from cordum.scheduler.protocol_alerts import ProtocolAlerts
from cordum.scheduler.registry import Registry
from cordum.scheduler.result_pipeline import ResultPipeline
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.saga import Sagas
from cordum.scheduler.settling import SERVICE, Settler
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.submit_pipeline import SubmitPipeline
from cordum.scheduler.trail import Trail
from cordum.scheduler.trust import Trust
from cordum.scheduler.wheel import Wheel
from cordum.scheduler.worker_ages import WorkerAges
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.breaker import CircuitBreaker
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.instances import Instances
from cordum.store.jobs import JobStore
from cordum.store.locks import Lock
from cordum.store.sagas import SagaStore
from cordum.store.schedule import parked_counts
from cordum.store.worker_snapshot import WorkerSnapshots

_NAME = "cordum-scheduler"
_BEAT_S = 5.0
_WRITER_TTL_S = 30.0
_ANSWERING_RECONNECT_S = 0.2

_log = get_logger()


class ResultLane(NamedTuple):
    """Connections that results have to themselves: a flood of submits does not hold them up (scheduler spec §32)."""

    bus: Bus
    jobs: JobStore


class Scheduler:
    """The parts of one scheduler process."""

    def __init__(
        self,
        service: Service,
        settings: SchedulerSettings,
        trust_settings: WorkerTrustSettings,
        store: StoreSettings,
        nats: NatsSettings,
        redis: RedisClient,
        bus: Bus,
        jobs: JobStore,
        audit: AuditWriter,
        result_lane: ResultLane,
        kernel: PolicyClient,
    ) -> None:
        self.service = service
        self.result_lane = result_lane
        self.audit = audit
        self.settings = settings
        self.redis = redis
        self.bus = bus
        self.jobs = jobs
        instance = service.instance_id
        self.planner = Planner(instance, jobs.partitions)
        self.kernel = kernel
        self.instances = Instances(
            redis, SERVICE, instance, {"version": version("cordum"), "commit": "", "started_at": rfc3339()}
        )
        letters = DeadLetterStore(jobs)
        publisher = Publisher(bus)
        self.blobs = BlobStore(redis, store.data_ttl_s)
        self.side = SideWrites(jobs, self.blobs)
        documents = ConfigDocuments(redis)
        self.fail_modes = FailModes(documents, settings.policy_fail_mode, production=service.production)
        breaker = CircuitBreaker(redis, keys.BREAKER_SAFETY, monotonic_s)
        trail = Trail(audit)
        self.safety = SafetyClient(self.kernel, breaker, self.blobs, self.fail_modes, redis, trail)
        self.configs = EffectiveConfigs(documents, settings.config_reload_s, monotonic_s)
        self.duties = Duties(jobs, letters, bus, publisher, self.side)
        compensations = Compensations(jobs, letters, self.blobs, self.safety, self.configs, publisher)
        self.sagas = Sagas(jobs, SagaStore(redis), compensations, self.duties.perform)
        self.duties.on_sagas = self.sagas.note
        alerts = ProtocolAlerts(bus)
        self.evidence = Evidence(self.planner, jobs, alerts)
        self.outputs = OutputPolicy(
            OutputPolicySettings.load(),
            redis,
            documents,
            self.kernel,
            jobs,
            self.blobs,
            self.side,
            bus,
            self.planner,
            self.duties,
            production=service.production,
        )
        submit_durable = subjects.durable_name(_NAME, subjects.SUBMIT)
        result_durable = subjects.durable_name(_NAME, subjects.RESULT)
        self.pace = Pace(settings.batch_max, settings.batches_in_flight, settings.max_parked, monotonic_s)
        self.submits = SubmitPipeline(
            self.planner,
            jobs,
            letters,
            self.safety,
            publisher,
            self.side,
            self.configs,
            trail,
            Admission(self.blobs),
            self.pace,
            submit_durable,
        )
        self.wheel = Wheel(self.planner, jobs, self.submits)
        self.results = ResultPipeline(
            self.planner,
            result_lane.jobs,
            letters,
            self.submits,
            self.side,
            self.configs,
            self.sagas.note,
            self.wheel.on_capacity,
            self.outputs.checks,
            Publisher(result_lane.bus),
            self.pace,
            result_durable,
        )
        self.outputs.attach(self.results)
        boundary = Boundary(settings, trust_settings)
        self.trust = Trust(
            trust_settings,
            lambda: boundary.attestation,
            self.planner,
            redis,
            (bus, result_lane.bus),
            jobs,
            audit,
            settings.config_reload_s,
            self._judge_again,
            self._take_session,
        )
        boundary.handshake = self.trust.mode
        self.registry = Registry(
            self.planner,
            WorkerSnapshots(redis),
            Lock(redis, keys.LOCK_SNAPSHOT_WRITER, _WRITER_TTL_S),
            instance,
            self.wheel.on_capacity,
            self.trust.presence(),
            UNLIMITED,
            settings.worker_ttl_s,
        )
        self.departures = Departures(settings.worker_ttl_s)
        self.registry.on_gone = self.departures.left
        # Licence documents are not read yet; until they are, nothing is limited.
        self.limits = UNLIMITED
        self.configuration = Configuration(
            settings, self.planner, redis, boundary, self.limits, production=service.production
        )
        self.submits.perform_duties = self.duties.perform
        self.configuration.on_routing.append(self.registry.drop_dead_pools)
        settler = Settler(
            self.planner, jobs, self.instances, bus, publisher, self.side, self.configs, instance
        )
        self.events = BusEvents(self.planner, jobs, self.duties, self.side, alerts)
        for hears in (self.submits, self.results, self.registry):
            hears.on_refused = alerts.refused
        self.nats = nats
        self.settler = settler
        self.consumers: list[BatchConsumer] = []
        self._consuming: list[asyncio.Task[None]] = []
        self._auditing: asyncio.Task[None] | None = None
        self.subscriptions: list[CoreSubscription] = []

    async def start(self) -> None:
        """Configuration, registry, subscriptions, loops. Raises ConfigError or Unavailable."""
        service, spawn = self.service, self.service.supervisor.spawn
        REGISTRY.register(WorkerAges(self.planner))
        await self._note_replicas()
        await self.configuration.start()
        await self.outputs.modes.start()
        await self.registry.warm_start()
        await self.trust.start(service)
        self.bus.on_reconnect(self.departures.deaf)
        reconciler, replay = background(
            self.planner,
            self.jobs,
            self.bus,
            self.blobs,
            self.safety,
            self.configs,
            self.configuration,
            self.departures,
            self.settler,
            self.duties,
            self.side,
        )
        self._subscribe()
        self._consuming = [
            spawn(f"consumer {consumer.durable}", consumer.run, on_error="restart")
            for consumer in self.consumers
        ]
        self._auditing = spawn("audit events", self.audit.run, on_error="restart")
        spawn("side writes", self.side.run, on_error="restart")
        for name, task in self.outputs.tasks().items():
            spawn(name, task, on_error="restart")
        spawn("sagas", self.sagas.run, on_error="restart")
        spawn("wheel", self.wheel.run, on_error="restart")
        spawn("capacity", self.wheel.watch_capacity, on_error="restart")
        spawn("worker snapshot", self._keep_snapshot, on_error="restart")
        spawn("configuration", self.configuration.keep_current, on_error="restart")
        spawn(
            "reconciler",
            lambda: reconciler.run(lambda: self.configuration.scan_interval_s),
            on_error="restart",
        )
        spawn("settling", reconciler.run_settling, on_error="restart")
        spawn("replay", lambda: replay.run(lambda: self.configuration.scan_interval_s), on_error="restart")
        spawn("dead letters", lambda: keep_dead_letter_depth(DeadLetterStore(self.jobs)), on_error="restart")
        spawn("fail modes", self.fail_modes.run, on_error="restart")
        spawn("safety kernel", self.safety.watch.run, on_error="restart")
        spawn("instance", self._beat, on_error="restart")
        spawn("store probes", lambda: self.pace.run_probes(self.redis.ping), on_error="restart")
        spawn(
            "parked jobs",
            lambda: self.pace.run_counting(lambda: parked_counts(self.jobs)),
            on_error="restart",
        )
        for subscription in self.subscriptions:
            await self._wait_ready(subscription)
        await self._announce()
        service.mark_started()

    def _subscribe(self) -> None:
        settings = self.settings
        for subject, handler in (
            (subjects.SUBMIT, self.trust.submits(self.submits.handle)),
            (subjects.RESULT, self.trust.results(self.results.handle, settings.worker_ttl_s)),
        ):
            self.consumers.append(
                BatchConsumer(
                    self.result_lane.bus if subject == subjects.RESULT else self.bus,
                    subjects.STREAM_SYS,
                    subject,
                    _NAME,
                    self.nats,
                    handler,
                    batch_max=settings.batch_max,
                    linger_ms=settings.batch_linger_ms,
                    # Results arrive one by one while their dispatches go out; handling one batch at a time
                    # lets the next one grow meanwhile, which costs less per job than two small ones.
                    in_flight=1 if subject == subjects.RESULT else settings.batches_in_flight,
                    batch_limit=None if subject == subjects.RESULT else self.submits.batch_limit,
                )
            )
        submits, results = self.consumers
        self.pace.attach(submits, results)
        self.submits.is_backed_up = lambda: submits.is_backed_up
        core = (
            (subjects.HEARTBEAT, self._on_heartbeats, ""),
            (subjects.HANDSHAKE, self.registry.on_presence, ""),
            (subjects.CONFIG_CHANGED, self._on_config_changed, ""),
            (subjects.CANCEL, self.trust.core(self.events.on_cancel), _NAME),
            (subjects.PROGRESS, self.trust.core(self.evidence.on_progress), _NAME),
        )
        for subject, on_messages, queue in core:
            subscription = CoreSubscription(self.bus, subject, on_messages, queue=queue)
            self.subscriptions.append(subscription)
            self.service.supervisor.spawn(f"subscription {subject}", subscription.run, on_error="restart")
        for subject, subscription in self.trust.subscriptions():
            self.subscriptions.append(subscription)
            self.service.supervisor.spawn(f"subscription {subject}", subscription.run, on_error="restart")

    async def _wait_ready(self, subscription: CoreSubscription) -> None:
        async with asyncio.timeout(10):
            await subscription.ready.wait()

    async def _on_heartbeats(self, messages: list[Msg]) -> None:
        await self.registry.on_presence(messages)
        await self.evidence.on_heartbeats()

    async def _on_config_changed(self, _messages: list[Msg]) -> None:
        self.configs.drop()
        self.configuration.changed.set()
        self.outputs.modes.changed.set()
        self.trust.credentials_changed()

    async def _judge_again(self, packets: list[bytes]) -> None:
        await self.registry.take(packets)

    async def _take_session(self, credential: WorkerCredential, capability: Handshake) -> None:
        await self.registry.authenticated(credential, capability)

    async def _keep_snapshot(self) -> None:
        await self.registry.keep_snapshot(self.settings.snapshot_interval_s)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            await self._note_replicas()

    async def _note_replicas(self) -> None:
        """Show that this replica lives, and learn who else does."""
        live = await self.instances.beat(now_s())
        self.planner.set_replicas(len(live))
        self.wheel.share(self.service.instance_id, live)

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
            await self.bus.publish_core(subjects.HANDSHAKE, packet.SerializeToString(deterministic=True))
        except Unavailable as error:
            _log.warning("handshake not published", error=str(error))

    async def stop(self) -> None:
        """Stop intake, finish batches, flush, leave."""
        self.safety.stopping = True
        for stoppable in _stoppables(self.consumers, self.subscriptions):
            stoppable.stop()
        await self._drained()
        await self.side.flush()
        self.audit.stop()
        if self._auditing is not None:
            await asyncio.wait((self._auditing,))
        await self.instances.leave()
        await self.kernel.close()

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
        service, settings, trust, store_settings, nats_settings, redis, bus, jobs, audit, lane, kernel
    )
    service.health.required |= {"redis": redis.ping, "nats": bus.ping}
    service.health.soft["safety"] = lambda: _check_kernel(scheduler.kernel)
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
    run_service(_NAME, SchedulerSettings.load, serve)


if __name__ == "__main__":
    main()
