"""The parts of a scheduler process and how they hang together."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

from cordum._core import Planner
from cordum.audit import AuditWriter
from cordum.bus.connection import Bus
from cordum.bus.publisher import Publisher
from cordum.config.nats import NatsSettings
from cordum.config.output_policy import OutputPolicySettings
from cordum.config.redis import StoreSettings
from cordum.config.scheduler import SchedulerSettings
from cordum.config.worker_trust import WorkerTrustSettings
from cordum.licensing import UNLIMITED
from cordum.protocol import subjects
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import monotonic_s, rfc3339
from cordum.runtime.service import Service
from cordum.scheduler.admission import Admission
from cordum.scheduler.boundary import Boundary
from cordum.scheduler.cancel import BusEvents
from cordum.scheduler.compensation import Compensations
from cordum.scheduler.configuration import Configuration
from cordum.scheduler.duties import Duties
from cordum.scheduler.evidence import Evidence
from cordum.scheduler.fail_mode import FailModes
from cordum.scheduler.lost import Departures
from cordum.scheduler.output_policy import OutputPolicy
from cordum.scheduler.pace import Pace
from cordum.scheduler.protocol_alerts import ProtocolAlerts
from cordum.scheduler.registry import Registry
from cordum.scheduler.result_pipeline import ResultPipeline
from cordum.scheduler.routing_files import RoutingFiles
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.saga import Sagas
from cordum.scheduler.settling import SERVICE, Settler
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.submit_pipeline import SubmitPipeline
from cordum.scheduler.trail import Trail
from cordum.scheduler.trust import Trust
from cordum.scheduler.wheel import Wheel
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
from cordum.store.worker_snapshot import WorkerSnapshots

__all__ = ["NAME", "Ground", "Parts", "ResultLane"]

NAME = "cordum-scheduler"
_WRITER_TTL_S = 30.0


class ResultLane(NamedTuple):
    """Connections that results have to themselves: a flood of submits does not hold them up (scheduler spec §32)."""

    bus: Bus
    jobs: JobStore


@dataclass(frozen=True, slots=True)
class Ground:
    """What the parts stand on: settings and open connections."""

    service: Service
    settings: SchedulerSettings
    trust: WorkerTrustSettings
    store: StoreSettings
    nats: NatsSettings
    redis: RedisClient
    bus: Bus
    jobs: JobStore
    audit: AuditWriter
    results: ResultLane
    kernel: PolicyClient
    files: RoutingFiles


class Parts:
    """The parts of one scheduler process; each knows those it was built from, callbacks are tied at the end."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        instance = ground.service.instance_id
        self.planner = Planner(instance, ground.jobs.partitions)
        self.instances = Instances(
            ground.redis,
            SERVICE,
            instance,
            {"version": version("cordum"), "commit": "", "started_at": rfc3339()},
        )
        # Licence documents are not read yet; until they are, nothing is limited.
        self.limits = UNLIMITED
        self.letters = DeadLetterStore(ground.jobs)
        self.publisher = Publisher(ground.bus)
        self.blobs = BlobStore(ground.redis, ground.store.data_ttl_s)
        self.side = SideWrites(ground.jobs, self.blobs)
        self.documents = ConfigDocuments(ground.redis)
        self.configs = EffectiveConfigs(self.documents, ground.settings.config_reload_s, monotonic_s)
        self.alerts = ProtocolAlerts(ground.bus)
        self._build_policy()
        self._build_duties()
        self._build_pipelines()
        self._build_workers()
        self._tie()

    def _build_policy(self) -> None:
        ground = self._ground
        self.fail_modes = FailModes(
            self.documents, ground.settings.policy_fail_mode, production=ground.service.production
        )
        breaker = CircuitBreaker(ground.redis, keys.BREAKER_SAFETY, monotonic_s)
        self.trail = Trail(ground.audit)
        self.safety = SafetyClient(
            ground.kernel, breaker, self.blobs, self.fail_modes, ground.redis, self.trail
        )

    def _build_duties(self) -> None:
        """Everything that happens after a commit."""
        ground = self._ground
        jobs, bus = ground.jobs, ground.bus
        self.duties = Duties(self.planner, jobs, self.letters, bus, self.publisher, self.side)
        compensations = Compensations(
            jobs, self.letters, self.blobs, self.safety, self.configs, self.publisher
        )
        self.sagas = Sagas(jobs, SagaStore(ground.redis), compensations, self.duties.perform)
        self.outputs = OutputPolicy(
            OutputPolicySettings.load(),
            ground.redis,
            self.documents,
            ground.kernel,
            jobs,
            self.blobs,
            self.side,
            bus,
            self.planner,
            self.duties,
            production=ground.service.production,
        )
        self.settler = Settler(
            self.planner,
            jobs,
            self.instances,
            bus,
            self.publisher,
            self.side,
            self.configs,
            ground.service.instance_id,
        )
        self.evidence = Evidence(self.planner, jobs, self.side, self.alerts)
        self.events = BusEvents(self.planner, jobs, self.duties, self.side, self.alerts)

    def _build_pipelines(self) -> None:
        ground, settings = self._ground, self._ground.settings
        self.pace = Pace(settings.batch_max, settings.batches_in_flight, settings.max_parked, monotonic_s)
        self.submits = SubmitPipeline(
            self.planner,
            ground.jobs,
            self.letters,
            self.safety,
            self.publisher,
            self.side,
            self.configs,
            self.trail,
            Admission(self.blobs),
            self.pace,
            subjects.durable_name(NAME, subjects.SUBMIT),
        )
        self.wheel = Wheel(self.planner, ground.jobs, self.submits)
        self.results = ResultPipeline(
            self.planner,
            ground.results.jobs,
            self.letters,
            self.submits,
            self.side,
            self.configs,
            self.sagas.note,
            self.wheel.on_capacity,
            self.outputs.checks,
            Publisher(ground.results.bus),
            self.pace,
            subjects.durable_name(NAME, subjects.RESULT),
        )

    def _build_workers(self) -> None:
        """Who takes part, whom to trust, and the configuration that says so."""
        ground, settings = self._ground, self._ground.settings
        boundary = Boundary(settings, ground.trust)
        self.trust = Trust(
            ground.trust,
            lambda: boundary.attestation,
            self.planner,
            ground.redis,
            (ground.bus, ground.results.bus),
            ground.jobs,
            ground.audit,
            settings.config_reload_s,
            lambda packets: self.registry.take(packets),
            lambda credential, capability: self.registry.authenticated(credential, capability),
        )
        boundary.handshake = self.trust.mode
        self.registry = Registry(
            self.planner,
            WorkerSnapshots(ground.redis),
            Lock(ground.redis, keys.LOCK_SNAPSHOT_WRITER, _WRITER_TTL_S),
            ground.service.instance_id,
            self.wheel.on_capacity,
            self.trust.presence(),
            self.limits,
            settings.worker_ttl_s,
        )
        self.departures = Departures(settings.worker_ttl_s)
        self.configuration = Configuration(
            settings, self.planner, ground.redis, boundary, self.limits, ground.files
        )

    def _tie(self) -> None:
        self.duties.on_sagas = self.sagas.note
        self.outputs.attach(self.results)
        self.submits.perform_duties = self.duties.perform
        self.registry.on_gone = self.departures.left
        self.registry.recall_sessions = self.trust.recall_sessions
        if self.trust.authority is not None:
            self.trust.authority.on_capacity = self.wheel.on_capacity
        self.configuration.on_routing.append(self.registry.drop_dead_pools)
        for hears in (self.submits, self.results, self.registry):
            hears.on_refused = self.alerts.refused
        self.registry.on_misnamed = self.alerts.misnamed
        self.results.on_misnamed = self.alerts.misnamed
