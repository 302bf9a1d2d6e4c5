"""Which packets count, by the session of their sender (protocol spec §15.3)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog
from cachetools import TTLCache

from cordum._core import packet_claims
from cordum.bus.connection import Bus
from cordum.config.worker_trust import TrustMode
from cordum.domain.errors import CordumError
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, SystemAlert
from cordum.runtime.clock import monotonic_s, now_us
from cordum.runtime.ids import new_id
from cordum.scheduler import metrics
from cordum.scheduler.attestation import Attestor
from cordum.scheduler.packets import SENDER
from cordum.scheduler.session_book import SessionBook, TokenVerdict
from cordum.scheduler.trust_trail import TrustTrail

__all__ = ["CONTROL_PLANE", "Admission", "Claims", "read_claims"]

CONTROL_PLANE: Final = frozenset({"api-gateway", "workflow-engine", SENDER})
_TOLD_MAX: Final = 10_000
_HOUR_S: Final = 3_600.0
_MINUTE_S: Final = 60.0
_PERMISSION_DENIED: Final = 202
_SEVERITY_ERROR: Final = 3

_log = structlog.get_logger("cordum.scheduler")


class Claims(NamedTuple):
    """What a packet says of itself; see `packet_claims`."""

    kind: str
    sender_id: str
    worker_id: str
    job_id: str
    scope: str
    session: str
    credential: str

    @property
    def names_one_worker(self) -> bool:
        """Tell whether the worker in the payload, if there is one, is the sender."""
        return self.worker_id in ("", self.sender_id)


def read_claims(packets: list[bytes]) -> list[Claims]:
    """Return the claims of packets."""
    return [Claims(*claims) for claims in packet_claims(packets)]


class Admission:
    """Judges senders; ``mode`` is never `off` here."""

    def __init__(
        self, mode: TrustMode, book: SessionBook, attestor: Attestor, trail: TrustTrail, bus: Bus
    ) -> None:
        self.mode = mode
        self._book = book
        self._attestor = attestor
        self._trail = trail
        self._bus = bus
        self._tokenless: TTLCache[str, bool] = TTLCache(_TOLD_MAX, _HOUR_S, timer=monotonic_s)
        self._alerted: TTLCache[str, bool] = TTLCache(_TOLD_MAX, _MINUTE_S, timer=monotonic_s)

    async def judge(self, claims: Sequence[Claims], at_s: Sequence[float]) -> list[TokenVerdict]:
        """Judge the tokens of packets that were published at these times (Unix seconds)."""
        presented = [(one.session, one.sender_id, at) for one, at in zip(claims, at_s, strict=True)]
        return [self._with_credential(verdict) for verdict in await self._book.judge(presented)]

    def _with_credential(self, verdict: TokenVerdict) -> TokenVerdict:
        """A session lives no longer than the credential it was proven with."""
        claims = verdict.claims
        if not verdict.is_valid or claims is None or claims.is_service:
            return verdict
        credential = self._attestor.credential(claims.subject)
        if credential is None or credential.proof_key_id != claims.proof_key_id:
            return TokenVerdict("revoked_token")
        if credential.tenant_id != claims.tenant or credential.agent_id != claims.agent_id:
            return TokenVerdict("revoked_token")
        return verdict

    def note_tokenless(self, claims: Claims) -> None:
        """Tell once an hour per sender that it shows no session."""
        if claims.sender_id not in self._tokenless:
            self._tokenless[claims.sender_id] = True
            _log.error("packet without session", packet=claims.kind, sender_id=claims.sender_id[:256])

    async def reject(self, claims: Claims, reason: str, tenant: str = "default") -> None:
        """Count, log, alert and audit a refused packet; the last three at most once a minute per sender."""
        metrics.REJECTED_PACKETS.labels(claims.kind, reason).inc()
        if reason == "trust_store_unready":
            # Nobody is to blame, and the book tells it.
            return
        if claims.sender_id in self._alerted:
            return
        self._alerted[claims.sender_id] = True
        sender = claims.sender_id[:256]
        _log.error(
            "packet refused", packet=claims.kind, sender_id=sender, reason=reason, job_id=claims.job_id[:256]
        )
        await self._trail.rejected(claims.kind, sender, tenant, reason, claims.job_id[:256])
        try:
            await self._bus.publish_core(subjects.ALERT, _alert(claims, reason))
        except CordumError as error:
            _log.warning("alert not sent", reason=error.message)


def _alert(claims: Claims, reason: str) -> bytes:
    alert = SystemAlert(
        level="ERROR",
        message=f"{claims.kind} refused: {reason}",
        component=SENDER,
        severity=_SEVERITY_ERROR,
        error_code_enum=_PERMISSION_DENIED,
        source_component=SENDER,
    )
    alert.code = "permission_denied"
    alert.details.update({"offending_sender": claims.sender_id[:256], "job_id": claims.job_id[:256]})
    packet = BusPacket(trace_id=new_id(), sender_id=SENDER, protocol_version=1, alert=alert)
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded
