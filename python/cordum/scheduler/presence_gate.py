"""Which heartbeats and handshakes count, and what their senders proved (protocol spec §15; scheduler spec §19.1)."""

from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from cordum._core import packet_claims
from cordum.config.worker_trust import TrustMode
from cordum.domain.worker_credentials import WorkerCredential
from cordum.runtime.clock import monotonic_s
from cordum.scheduler.attestation import Attestor

__all__ = ["Admitted", "PresenceGate", "Proof"]

Proof = tuple[list[str], list[str]]
"""Pools and topics that a proven worker is limited to; empty lists are no limit."""
Admitted = tuple[list[bytes], list[Proof | None]]
Claims = tuple[str, str, str, str, str, str, str]

_HELD_MAX: Final = 10_000
_HELD_S: Final = 60.0


class PresenceGate:
    """Filters packets before they reach the worker table; what it does depends on the mode at that time."""

    def __init__(self, attestor: Attestor, mode: Callable[[], TrustMode]) -> None:
        self._attestor = attestor
        self._mode = mode
        self._handshakes: TTLCache[str, bytes] = TTLCache(_HELD_MAX, _HELD_S, timer=monotonic_s)
        """Last handshake of workers that have yet to prove who they are."""

    @property
    def is_open(self) -> bool:
        """Tell whether every packet passes."""
        return self._mode() == "off"

    def admit(self, packets: list[bytes]) -> Admitted:
        """Return the packets that count now, with the proofs of their senders; others wait or are dropped."""
        admitted: list[bytes] = []
        proofs: list[Proof | None] = []
        for packet, claims in zip(packets, packet_claims(packets), strict=True):
            for passed, credential in self._judge(packet, claims):
                admitted.append(passed)
                proofs.append(_proof(credential))
        return admitted, proofs

    def _judge(self, packet: bytes, claims: Claims) -> list[tuple[bytes, WorkerCredential | None]]:
        kind, sender_id, worker_id, _, pool, session, token = claims
        mode = self._mode()
        if not kind:
            # Not ours to judge: the table counts what it cannot use.
            return [(packet, None)]
        judgement = self._attestor.judge(
            *(sender_id, worker_id, pool if kind == "heartbeat" else "", token or session, packet)
        )
        if judgement.reason == "pending":
            return []
        if not judgement.reason:
            held = self._handshakes.pop(worker_id, None) if kind == "heartbeat" else None
            earlier = [(held, judgement.credential)] if held is not None else []
            return [*earlier, (packet, judgement.credential)]
        if kind == "handshake":
            if mode == "enforce" and judgement.reason != "sender_id_mismatch":
                # It takes effect together with a heartbeat that proves the sender.
                self._handshakes[worker_id] = packet
                return []
            return [] if mode == "enforce" else [(packet, None)]
        self._attestor.report(mode, worker_id, judgement.reason)
        return [] if mode == "enforce" else [(packet, None)]


def _proof(credential: WorkerCredential | None) -> Proof | None:
    if credential is None:
        return None
    return list(credential.allowed_pools), list(credential.allowed_topics)
