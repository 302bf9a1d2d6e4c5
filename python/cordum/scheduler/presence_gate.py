"""Which heartbeats and handshakes count, and what their senders proved (protocol spec §15; scheduler spec §19.1)."""

from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from cordum.config.worker_trust import TrustMode
from cordum.domain.worker_credentials import WorkerCredential
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler.attestation import Attestor
from cordum.scheduler.packet_admission import Admission, Claims, read_claims
from cordum.scheduler.session_book import TokenVerdict

__all__ = ["Admitted", "PresenceGate", "Proof"]

Proof = tuple[list[str], list[str]]
"""Pools and topics that a proven worker is limited to; empty lists are no limit."""
Admitted = tuple[list[bytes], list[Proof | None], list[bool]]
"""Packets, proofs of their senders, and which of them only inform."""
_Passed = list[tuple[bytes, WorkerCredential | None]]

_HELD_MAX: Final = 10_000
_HELD_S: Final = 60.0
_NO_SESSIONS: Final = TokenVerdict("missing")


class PresenceGate:
    """Filters packets before they reach the worker table; ``attestation`` is asked for every packet.

    With ``sessions_decide`` packets without a session only inform (protocol spec §15.3).
    """

    def __init__(
        self,
        attestor: Attestor,
        attestation: Callable[[], TrustMode],
        admission: Admission | None,
        *,
        sessions_decide: bool = False,
    ) -> None:
        self._attestor = attestor
        self._attestation = attestation
        self._admission = admission
        self._sessions_decide = sessions_decide
        self._handshakes: TTLCache[str, bytes] = TTLCache(_HELD_MAX, _HELD_S, timer=monotonic_s)
        """Last handshake of workers that have yet to prove who they are."""

    @property
    def is_open(self) -> bool:
        """Tell whether every packet passes."""
        return self._admission is None and self._attestation() == "off"

    async def admit(self, packets: list[bytes]) -> Admitted:
        """Return the packets that count now, with the proofs of their senders; others wait or are dropped."""
        claims = read_claims(packets)
        verdicts = [_NO_SESSIONS] * len(claims)
        if self._admission is not None:
            verdicts = await self._admission.judge(claims, [now_us() / 1e6] * len(claims))
        admitted: list[bytes] = []
        proofs: list[Proof | None] = []
        informing: list[bool] = []
        for packet, one, verdict in zip(packets, claims, verdicts, strict=True):
            for passed, credential in await self._judge(packet, one, verdict):
                admitted.append(passed)
                proofs.append(_proof(credential))
                informing.append(self._sessions_decide and not verdict.is_valid)
        return admitted, proofs, informing

    async def _judge(self, packet: bytes, claims: Claims, verdict: TokenVerdict) -> _Passed:
        if not claims.kind:
            # Not ours to judge: the table counts what it cannot use.
            return [(packet, None)]
        if self._admission is not None:
            reason = self._refusal(claims, verdict, self._admission)
            if reason:
                await self._admission.reject(claims, reason)
                return []
        if verdict.is_valid:
            return self._proven(packet, claims, self._attestor.credential(claims.sender_id))
        if self._attestation() == "off":
            return [(packet, None)]
        return self._attest(packet, claims)

    @staticmethod
    def _refusal(claims: Claims, verdict: TokenVerdict, admission: Admission) -> str:
        if not claims.names_one_worker:
            return "sender_mismatch"
        if verdict.reason == "missing":
            admission.note_tokenless(claims)
            return "missing" if admission.mode == "enforce" else ""
        if verdict.claims is not None and verdict.claims.is_service:
            return "foreign_token"
        return verdict.reason

    def _attest(self, packet: bytes, claims: Claims) -> _Passed:
        is_beat = claims.kind == "heartbeat"
        # Where sessions are on, that field carries them, and a credential in it counts for nothing.
        spare = claims.session if self._admission is None or not is_beat else ""
        judgement = self._attestor.judge(
            *(claims.sender_id, claims.worker_id, claims.scope if is_beat else ""),
            *(claims.credential or spare, packet),
        )
        mode = self._attestation()
        if judgement.reason == "pending":
            return []
        if not judgement.reason:
            return self._proven(packet, claims, judgement.credential)
        if is_beat:
            self._attestor.report(mode, claims.worker_id, judgement.reason)
        elif mode == "enforce" and judgement.reason != "sender_id_mismatch":
            # It takes effect together with a heartbeat that proves the sender.
            self._handshakes[claims.worker_id] = packet
        return [] if mode == "enforce" else [(packet, None)]

    def _proven(self, packet: bytes, claims: Claims, credential: WorkerCredential | None) -> _Passed:
        held = self._handshakes.pop(claims.worker_id, None) if claims.kind == "heartbeat" else None
        earlier: _Passed = [(held, credential)] if held is not None else []
        return [*earlier, (packet, credential)]


def _proof(credential: WorkerCredential | None) -> Proof | None:
    if credential is None:
        return None
    return list(credential.allowed_pools), list(credential.allowed_topics)
