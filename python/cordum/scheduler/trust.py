"""The parts that decide whom the scheduler trusts, put together by the settings (protocol spec §14–§16)."""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.msg import Msg

from cordum._core import Planner
from cordum.audit import AuditWriter
from cordum.bus.connection import Bus
from cordum.bus.subscriptions import CoreSubscription
from cordum.config.worker_trust import TrustMode, WorkerTrustSettings
from cordum.domain.errors import ConfigError
from cordum.domain.worker_credentials import WorkerCredential
from cordum.protocol import subjects
from cordum.protocol.sealing import PacketSeal
from cordum.runtime.clock import now_s
from cordum.runtime.ids import new_id
from cordum.runtime.service import Service
from cordum.scheduler.attestation import Attestor
from cordum.scheduler.handshake import Handshakes
from cordum.scheduler.handshake_replies import Replies
from cordum.scheduler.packet_admission import Admission
from cordum.scheduler.packets import SENDER
from cordum.scheduler.presence_gate import PresenceGate
from cordum.scheduler.proof_keys import ProofKeys
from cordum.scheduler.result_gate import Handle, ResultGate
from cordum.scheduler.session_authority import SessionAuthority
from cordum.scheduler.session_book import Change, SessionBook
from cordum.scheduler.submit_gate import CoreGate, CoreHandle, SubmitGate
from cordum.scheduler.trust_trail import TrustTrail
from cordum.security.policy_signatures import Signer, TrustedKeys
from cordum.security.session_tokens import ServiceToken, SessionTokens
from cordum.security.signing_key import read_signer
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from cordum.store.worker_sessions import Session, WorkerSessions, swap_heartbeat_mode

__all__ = ["Trust", "handshake_mode"]

_QUEUE: Final = "cordum-scheduler"
_HANDSHAKES_AT_ONCE: Final = 64

_log = structlog.get_logger("cordum.scheduler")

OnSession = Callable[[WorkerCredential, Any], Awaitable[None]]


def handshake_mode(settings: WorkerTrustSettings, signer: Signer | None) -> TrustMode:
    """Return the mode of the trust handshake. Raises ConfigError when a mode is asked for without what it needs."""
    mode = _mode_of(settings, signer)
    if mode == "off" and settings.heartbeat_mode != "authority":
        raise ConfigError(
            f"CORDUM_HEARTBEAT_MODE: `{settings.heartbeat_mode}` expects CORDUM_SDK_HANDSHAKE to be `warn` or `enforce`"
        )
    return mode


def _mode_of(settings: WorkerTrustSettings, signer: Signer | None) -> TrustMode:
    is_ready = settings.has_proof_key and signer is not None and isinstance(signer.key, Ed25519PrivateKey)
    if not settings.handshake:
        return "warn" if is_ready else "off"
    if settings.handshake != "off" and not is_ready:
        raise ConfigError(
            f"CORDUM_SDK_HANDSHAKE: `{settings.handshake}` expects the proof key (CORDUM_HANDSHAKE_PRIVATE_KEY_FILE "
            "and its companions) and an Ed25519 key in CORDUM_POLICY_SIGNING_KEY or CORDUM_POLICY_SIGNING_KEY_PATH"
        )
    return settings.handshake


class Trust:
    """What the scheduler needs to tell friend from stranger; ``attestation`` gives the mode of the moment.

    Every one of ``buses`` seals what is published on it; the first one is used here too.
    """

    def __init__(
        self,
        settings: WorkerTrustSettings,
        attestation: Callable[[], TrustMode],
        planner: Planner,
        redis: RedisClient,
        buses: Sequence[Bus],
        jobs: JobStore,
        audit: AuditWriter,
        reload_s: float,
        on_verdict: Callable[[list[bytes]], Awaitable[None]],
        on_session: OnSession,
    ) -> None:
        self._attestation = attestation
        self._planner = planner
        self._redis = redis
        self._bus = buses[0]
        self._jobs = jobs
        self._on_session = on_session
        self._trail = TrustTrail(audit)
        signer = read_signer(settings)
        self.mode = handshake_mode(settings, signer)
        seal = PacketSeal(sender=(SENDER, settings.scheduler_id))
        self._proof_keys = ProofKeys(settings, seal) if settings.has_proof_key else None
        if self._proof_keys is not None or settings.scheduler_id != SENDER:
            for bus in buses:
                bus.seal = seal
        self.attestor = Attestor(ConfigDocuments(redis), planner, reload_s, on_verdict)
        self.admission: Admission | None = None
        self.authority: SessionAuthority | None = None
        self._heartbeat_mode = settings.heartbeat_mode
        self._book: SessionBook | None = None
        self._handshakes: Handshakes | None = None
        if self.mode != "off" and signer is not None and self._proof_keys is not None:
            trusted = TrustedKeys.load("", signer.key_id, "", os.environ)
            self._open(SessionTokens(signer, trusted), settings.scheduler_id, self._proof_keys, seal)

    def _open(
        self, tokens: SessionTokens, scheduler_id: str, proof_keys: ProofKeys, seal: PacketSeal
    ) -> None:
        sessions = WorkerSessions(self._redis)
        self._book = SessionBook(sessions, tokens, self._session_changed)
        if self._heartbeat_mode != "authority":
            self.authority = SessionAuthority(self._heartbeat_mode, self._planner, self.attestor, self._trail)
            self._book.on_sessions = self.authority.take
        self.admission = Admission(self.mode, self._book, self.attestor, self._trail, self._bus)
        self._handshakes = Handshakes(
            self._redis,
            self._bus,
            self.attestor,
            sessions,
            self._book,
            tokens,
            Replies(scheduler_id, lambda: proof_keys.current),
            self._trail,
            self._on_session,
        )
        if self.mode == "enforce":
            seal.token = ServiceToken(tokens, "scheduler", new_id, now_s)
        _log.info("worker trust handshake", mode=self.mode)

    async def _session_changed(self, worker_id: str, session: Session | None, change: Change) -> None:
        """A worker whose session was revoked proves nothing from now on."""
        if change == "session_revoked":
            self._planner.withdraw(worker_id)
        tenant = session.tenant if session is not None else "default"
        jti, agent_id = (session.jti, session.agent_id) if session is not None else ("", "")
        await self._trail.change(change, worker_id, tenant, jti, agent_id)

    def presence(self) -> PresenceGate:
        """Return the gate of heartbeats and handshakes."""
        decide = self.authority is not None
        return PresenceGate(self.attestor, self._attestation, self.admission, sessions_decide=decide)

    def results(self, handle: Handle, worker_ttl_s: float) -> Handle:
        """Return the handler of results behind its gate."""
        return ResultGate(
            handle,
            self._planner,
            self._jobs,
            self.attestor,
            self._attestation,
            self.admission,
            worker_ttl_s,
        ).handle

    def submits(self, handle: Handle) -> Handle:
        """Return the handler of submits behind its gate."""
        return handle if self.admission is None else SubmitGate(handle, self.admission).handle

    def core(self, handle: CoreHandle) -> CoreHandle:
        """Return the handler of cancels or progress behind its gate."""
        return handle if self.admission is None else CoreGate(handle, self._jobs, self.admission).handle

    def subscriptions(self) -> list[tuple[str, CoreSubscription]]:
        """Return the trust subjects; none while the handshake is off: a worker that hears a refusal does not start."""
        if self._handshakes is None:
            return []
        served: tuple[tuple[str, Callable[[list[Msg]], Awaitable[None]]], ...] = (
            (subjects.TRUST_CHALLENGE, self._handshakes.on_challenge),
            (subjects.TRUST_AUTHENTICATE, self._handshakes.on_authenticate),
        )
        return [
            (
                subject,
                CoreSubscription(self._bus, subject, handler, queue=_QUEUE, batch_max=_HANDSHAKES_AT_ONCE),
            )
            for subject, handler in served
        ]

    async def start(self, service: Service) -> None:
        """Read the credentials, then keep everything current until the service ends."""
        await self.attestor.reload()
        spawn = service.supervisor.spawn
        spawn("attestation", self.attestor.run, on_error="restart")
        if self._proof_keys is not None:
            spawn("proof key", self._proof_keys.follow_files, on_error="restart")
        if self._book is not None:
            spawn("worker sessions", self._book.run, on_error="restart")
        if self.authority is not None:
            spawn("session authority", self.authority.run, on_error="restart")
        before = await swap_heartbeat_mode(self._redis, self._heartbeat_mode)
        if before not in ("", self._heartbeat_mode):
            await self._trail.mode_changed(before, self._heartbeat_mode)

    async def recall_sessions(self, worker_ids: list[str]) -> None:
        """Look up the sessions of remembered workers, where they decide who lives."""
        if self.authority is not None and self._book is not None:
            await self.attestor.reload()
            await self._book.recall(worker_ids)

    def credentials_changed(self) -> None:
        """Have the credentials read again."""
        self.attestor.changed.set()
