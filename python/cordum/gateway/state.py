"""The parts of one gateway process, as handlers see them."""

from dataclasses import dataclass, field
from typing import Final

from cordum.audit import AuditChain, AuditWriter
from cordum.bus.connection import Bus
from cordum.bus.publisher import Publisher
from cordum.config.gateway import GatewaySettings
from cordum.gateway.approval_repairs import ApprovalRepairs
from cordum.gateway.approvals import Approvals
from cordum.gateway.auth import Authenticator
from cordum.gateway.config_documents import ConfigEditor
from cordum.gateway.document_edits import DocumentEdits
from cordum.gateway.drains import DrainChecker
from cordum.gateway.job_actions import JobActions
from cordum.gateway.live import LiveHub
from cordum.gateway.policy_audit import PolicyAudit
from cordum.gateway.policy_documents import PolicyDocuments
from cordum.gateway.policy_rules import RuleReader
from cordum.gateway.pools import PoolEditor
from cordum.gateway.quarantine import Quarantine
from cordum.gateway.submit import Submitter
from cordum.gateway.topics import TopicEditor
from cordum.gateway.worker_credentials import CredentialWriter
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.runtime.scanner_file import ScannerFile
from cordum.store.blobs import BlobStore
from cordum.store.boundary import BoundaryReader
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore
from cordum.store.worker_sessions import WorkerSessions
from cordum.store.worker_snapshot import WorkerSnapshots

__all__ = ["Gateway"]

CONFIG_FRESH_S: Final = 1.0


@dataclass
class Gateway:
    """Wires the parts; opening and closing connections is the service's business."""

    settings: GatewaySettings
    redis: RedisClient
    jobs: JobStore
    bus: Bus
    kernel: PolicyClient
    instance_id: str
    auth: Authenticator
    audit: AuditChain
    audit_is_strict: bool = True
    audit_buffer: int = 1_000
    started_s: float = field(default_factory=monotonic_s)
    is_stopping: bool = False

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.bus)
        self.audit_writer = AuditWriter(self.audit, self.audit_buffer)
        path = self.settings.output_scanners_path
        self.scanner_file = ScannerFile(path) if path else None
        self.blobs = BlobStore(self.redis, self.settings.data_ttl_s)
        self.letters = DeadLetterStore(self.jobs)
        self.workers = WorkerSnapshots(self.redis)
        self.configs = EffectiveConfigs(ConfigDocuments(self.redis), CONFIG_FRESH_S, monotonic_s)
        self.boundary = BoundaryReader(self.redis, self.settings.schema_mode, CONFIG_FRESH_S, monotonic_s)
        self.submitter = Submitter(
            self.settings,
            self.jobs,
            self.kernel,
            self.publisher,
            self.configs,
            self.boundary,
            self.audit_writer,
        )
        self.actions = JobActions(
            self.jobs, self.letters, self.blobs, self.bus, self.publisher, self.submitter
        )
        self.approvals = Approvals(
            self.jobs,
            self.blobs,
            self.kernel,
            self.publisher,
            self.actions,
            self.configs,
            self.settings.kernel_timeout_s,
        )
        self.approval_repairs = ApprovalRepairs(
            self.approvals,
            self.actions,
            self.jobs,
            self.blobs,
            self.kernel,
            self.settings.kernel_timeout_s,
        )
        self.policies = PolicyDocuments(
            self.redis,
            self.kernel,
            self.bus,
            self.settings,
            PolicyAudit(self.audit, strict=self.audit_is_strict),
        )
        self.edits = DocumentEdits(self.redis, self.bus, self.audit, self.configs, self.boundary)
        self.config = ConfigEditor(self.edits, self.policies, self.configs)
        self.topics = TopicEditor(self.edits, self.workers)
        self.pools = PoolEditor(self.edits, self.workers, self.jobs)
        self.drains = DrainChecker(self.redis, self.pools, self.edits)
        self.sessions = WorkerSessions(self.redis)
        self.credentials = CredentialWriter(self.redis, self.bus, self.audit, self.sessions)
        self.rules = RuleReader()
        self.quarantine = Quarantine(self.jobs, self.audit)
        self.live = LiveHub(self.bus, self.jobs, self.settings)

    def scanners(self) -> bytes | None:
        """Return the scanner file that rules may name scanners of, None without one. Blocking."""
        return self.scanner_file.read() if self.scanner_file is not None else None
