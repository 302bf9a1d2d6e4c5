"""Which results count when workers have to prove who they are (protocol spec §15.3, scheduler spec §10 row 3)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from cordum._core import Planner
from cordum.bus.messages import ACK, NAK, InMessage, Verdict
from cordum.config.worker_trust import TrustMode
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.attestation import Attestor
from cordum.scheduler.packet_admission import CONTROL_PLANE, Admission, Claims, read_claims
from cordum.scheduler.session_book import TokenVerdict
from cordum.store.job_owners import job_owners
from cordum.store.jobs import JobStore

__all__ = ["ResultGate"]

_AGAIN_S: Final = 1.0
_NO_SESSIONS: Final = TokenVerdict("missing")

_log = structlog.get_logger("cordum.scheduler")

Handle = Callable[[list[InMessage]], Awaitable[Sequence[Verdict]]]


class ResultGate:
    """Stands before the result pipeline; ``worker_ttl_s`` is how long an attestation counts."""

    def __init__(
        self,
        handle: Handle,
        planner: Planner,
        jobs: JobStore,
        attestor: Attestor,
        attestation: Callable[[], TrustMode],
        admission: Admission | None,
        worker_ttl_s: float,
    ) -> None:
        self._handle = handle
        self._planner = planner
        self._jobs = jobs
        self._attestor = attestor
        self._attestation = attestation
        self._admission = admission
        self._settled_s = monotonic_s() + worker_ttl_s

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Process one batch: results that do not count are acknowledged without effect."""
        if self._admission is None and self._attestation() != "enforce":
            return await self._handle(messages)
        refused = await self._judge(messages)
        passed = [message for message, verdict in zip(messages, refused, strict=True) if verdict is None]
        answers = iter(await self._handle(passed) if passed else ())
        return [verdict or next(answers) for verdict in refused]

    async def _judge(self, messages: list[InMessage]) -> list[Verdict | None]:
        claims = read_claims([message.data for message in messages])
        verdicts = [_NO_SESSIONS] * len(claims)
        if self._admission is not None:
            verdicts = await self._admission.judge(claims, [m.timestamp_us / 1e6 for m in messages])
        strangers = self._strangers(claims) if self._attestation() == "enforce" else set()
        foreign = await self._foreign(claims, verdicts)
        return [
            await self._decide(one, verdict, strangers, foreign)
            for one, verdict in zip(claims, verdicts, strict=True)
        ]

    def _strangers(self, claims: Sequence[Claims]) -> set[str]:
        senders = {one.sender_id for one in claims if one.kind == "result"} - CONTROL_PLANE
        return set(self._planner.unattested(sorted(senders), now_us()))

    async def _foreign(self, claims: Sequence[Claims], verdicts: Sequence[TokenVerdict]) -> set[str]:
        """Return the jobs that belong to another tenant than the session that reports on them."""
        reported = {
            one.job_id: verdict.claims.tenant
            for one, verdict in zip(claims, verdicts, strict=True)
            if verdict.is_valid and verdict.claims is not None and not verdict.claims.is_service
        }
        if not reported:
            return set()
        owners = await job_owners(self._jobs, list(reported))
        pairs = zip(reported.items(), owners, strict=True)
        return {job_id for (job_id, tenant), owner in pairs if owner is not None and owner.tenant != tenant}

    async def _decide(
        self, claims: Claims, verdict: TokenVerdict, strangers: set[str], foreign: set[str]
    ) -> Verdict | None:
        """Return None for a result that goes on."""
        if claims.kind != "result" or claims.sender_id in CONTROL_PLANE:
            # The pipeline counts what it cannot use, and ignores what the control plane repeats.
            return None
        reason = self._refusal(claims, verdict, foreign)
        if reason == "trust_store_unready":
            return NAK(_AGAIN_S)
        if reason and self._admission is not None:
            tenant = verdict.claims.tenant if verdict.claims is not None else "default"
            await self._admission.reject(claims, reason, tenant)
            return ACK
        return None if verdict.is_valid else self._attested(claims, strangers)

    def _refusal(self, claims: Claims, verdict: TokenVerdict, foreign: set[str]) -> str:
        if self._admission is None:
            return ""
        if not claims.names_one_worker:
            return "sender_mismatch"
        if verdict.reason == "missing":
            self._admission.note_tokenless(claims)
            return "missing" if self._admission.mode == "enforce" else ""
        if verdict.is_valid and claims.job_id in foreign:
            return "foreign_tenant"
        return verdict.reason

    def _attested(self, claims: Claims, strangers: set[str]) -> Verdict | None:
        if self._attestation() != "enforce":
            return None
        if claims.names_one_worker and claims.sender_id not in strangers:
            return None
        if monotonic_s() < self._settled_s and self._attestor.credential(claims.sender_id) is not None:
            # We are new here: its next heartbeat tells.
            return NAK(_AGAIN_S)
        metrics.REJECTED_PACKETS.labels(claims.kind, "not_attested").inc()
        _log.error(
            "result of a worker that is not attested",
            worker_id=claims.worker_id[:256],
            sender_id=claims.sender_id[:256],
            job_id=claims.job_id[:256],
        )
        return ACK
