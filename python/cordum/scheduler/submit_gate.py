"""Which submits, cancels and progress reports count when senders have to prove who they are (protocol spec §15.3)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from nats.aio.msg import Msg

from cordum.bus.messages import ACK, NAK, InMessage, Verdict
from cordum.domain.errors import CordumError
from cordum.runtime.clock import now_us
from cordum.scheduler.packet_admission import Admission, Claims, read_claims
from cordum.scheduler.session_book import TokenVerdict
from cordum.store.job_owners import JobOwner, job_owners
from cordum.store.jobs import JobStore

__all__ = ["CoreGate", "SubmitGate"]

_AGAIN_S: Final = 1.0

_log = structlog.get_logger("cordum.scheduler")

Handle = Callable[[list[InMessage]], Awaitable[Sequence[Verdict]]]
CoreHandle = Callable[[list[Msg]], Awaitable[None]]


class SubmitGate:
    """Stands before the submit pipeline."""

    def __init__(self, handle: Handle, admission: Admission) -> None:
        self._handle = handle
        self._admission = admission

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Process one batch: submits that do not count are acknowledged without effect."""
        claims = read_claims([message.data for message in messages])
        judged = await self._admission.judge(claims, [m.timestamp_us / 1e6 for m in messages])
        refused = [await self._decide(one, verdict) for one, verdict in zip(claims, judged, strict=True)]
        passed = [message for message, verdict in zip(messages, refused, strict=True) if verdict is None]
        answers = iter(await self._handle(passed) if passed else ())
        return [verdict or next(answers) for verdict in refused]

    async def _decide(self, claims: Claims, verdict: TokenVerdict) -> Verdict | None:
        if claims.kind != "request":
            return None
        if self._admission.mode == "warn":
            if verdict.reason == "missing":
                self._admission.note_tokenless(claims)
            return None
        if verdict.reason == "trust_store_unready":
            return NAK(_AGAIN_S)
        reason: str = verdict.reason
        session = verdict.claims
        if session is not None and not reason and not session.is_service and session.tenant != claims.scope:
            reason = "foreign_tenant"
        if not reason:
            return None
        await self._admission.reject(claims, reason)
        return ACK


class CoreGate:
    """Stands before the handlers of cancels and progress, which come over core NATS."""

    def __init__(self, handle: CoreHandle, jobs: JobStore, admission: Admission) -> None:
        self._handle = handle
        self._jobs = jobs
        self._admission = admission

    async def handle(self, messages: list[Msg]) -> None:
        """Hand on what counts; the rest is dropped."""
        claims = read_claims([message.data for message in messages])
        judged = await self._admission.judge(claims, [now_us() / 1e6] * len(claims))
        try:
            owners = await job_owners(self._jobs, [one.job_id for one in claims])
        except CordumError as error:
            _log.error("packets dropped: the jobs they name cannot be read", reason=error.message)
            return
        passed: list[Msg] = []
        for message, one, verdict, owner in zip(messages, claims, judged, owners, strict=True):
            reason = self._refusal(one, verdict, owner)
            if reason:
                await self._admission.reject(one, reason)
            else:
                passed.append(message)
        if passed:
            await self._handle(passed)

    def _refusal(self, claims: Claims, verdict: TokenVerdict, owner: JobOwner | None) -> str:
        if claims.kind not in ("cancel", "progress"):
            return ""
        if claims.kind == "cancel" and self._admission.mode == "warn":
            return ""
        if verdict.reason == "missing" and self._admission.mode == "warn":
            self._admission.note_tokenless(claims)
            return _of_another_worker(claims, owner)
        if not verdict.is_valid:
            return verdict.reason
        if verdict.claims is None or verdict.claims.is_service or owner is None:
            return ""
        if owner.tenant != verdict.claims.tenant:
            return "foreign_tenant"
        return _of_another_worker(claims, owner, is_strict=claims.kind == "cancel")


def _of_another_worker(claims: Claims, owner: JobOwner | None, *, is_strict: bool = False) -> str:
    """Return the reason when the job was handed to somebody else; ``is_strict``: or to nobody in particular."""
    if owner is None or (not owner.worker_id and not is_strict):
        return ""
    return "" if owner.worker_id == claims.sender_id else "foreign_job"
