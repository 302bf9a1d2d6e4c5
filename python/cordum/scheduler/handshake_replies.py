"""What the scheduler answers in a trust handshake, signed with its proof key (protocol spec §14.2–§14.5)."""

import secrets
from collections.abc import Callable
from typing import Any, Final

from cordum.domain.worker_credentials import WorkerCredential
from cordum.protocol.cap import BusPacket, handshake_pb2
from cordum.protocol.trust_packets import AUDIENCE, ISSUE, NONCE_BYTES, RENEW, sign_and_encode
from cordum.runtime.clock import now_us
from cordum.security.proof_key import ProofKey
from cordum.store.worker_sessions import NewSession

__all__ = ["Replies"]

CHALLENGE_S: Final = 30
_UNKNOWN: Final = "-"
_ECHOED: Final = ("request_id", "trace_id", "worker_id", "proof_key_id", "sdk_version")


class Replies:
    """Builds and signs; ``key`` gives the key of the moment."""

    def __init__(self, scheduler_id: str, key: Callable[[], ProofKey]) -> None:
        self._scheduler_id = scheduler_id
        self._key = key

    def challenge(self, request: Any, credential: WorkerCredential) -> Any:
        """Return a fresh challenge for a request."""
        return self._challenge(request, credential.agent_id, credential.tenant_id)

    def _challenge(self, request: Any, agent_id: str, tenant_id: str) -> Any:
        challenge = handshake_pb2.WorkerHandshakeChallenge(
            challenge_id=secrets.token_hex(16),
            agent_id=agent_id,
            tenant_id=tenant_id,
            proof_algorithm=1,
            server_key_id=self._key().key_id,
            audience=AUDIENCE,
            purpose=request.purpose if request.purpose in (ISSUE, RENEW) else ISSUE,
            client_nonce=_nonce(request.client_nonce),
            server_nonce=secrets.token_bytes(NONCE_BYTES),
            protocol_version=1,
        )
        for name in _ECHOED:
            setattr(challenge, name, getattr(request, name) or _UNKNOWN)
        now = now_us()
        challenge.issued_at.FromMicroseconds(now)
        challenge.expires_at.FromMicroseconds(now + CHALLENGE_S * 1_000_000)
        return challenge

    def encode(self, trace_id: str, *, challenge: Any = None, result: Any = None, token: str = "") -> bytes:
        """Return the signed packet of a challenge or a result."""
        packet = BusPacket(
            trace_id=trace_id,
            sender_id=self._scheduler_id,
            protocol_version=1,
            auth_token=token,
            worker_handshake_challenge=challenge,
            worker_handshake_result=result,
        )
        packet.created_at.FromMicroseconds(now_us())
        return sign_and_encode(packet, self._key().private_key)

    def accepted(self, challenge: Any, token: str, session: NewSession) -> bytes:
        """Return the acceptance that carries the new token."""
        result = handshake_pb2.WorkerHandshakeResult(challenge=challenge, accepted=True)
        result.issued_at.FromMicroseconds(now_us())
        result.token_expires_at.FromSeconds(session.expires_at)
        return self.encode(challenge.trace_id, result=result, token=token)

    def rejected(self, body: Any, reason: int) -> bytes:
        """Return a rejection: a request is echoed as far as it says something, a challenge as it came."""
        is_whole = hasattr(body, "challenge_id") and self._is_ours(body)
        challenge = body if is_whole else self._challenge(body, _UNKNOWN, _UNKNOWN)
        result = handshake_pb2.WorkerHandshakeResult(
            challenge=challenge, accepted=False, rejection_reason=reason
        )
        result.issued_at.FromMicroseconds(now_us())
        return self.encode(challenge.trace_id, result=result)

    def _is_ours(self, challenge: Any) -> bool:
        """Tell whether an echoed challenge leads workers to the key we sign with."""
        lifetime_us = challenge.expires_at.ToMicroseconds() - challenge.issued_at.ToMicroseconds()
        return (
            challenge.server_key_id == self._key().key_id
            and challenge.proof_algorithm == 1
            and challenge.protocol_version == 1
            and challenge.purpose in (ISSUE, RENEW)
            and len(challenge.client_nonce) == len(challenge.server_nonce) == NONCE_BYTES
            and 0 < lifetime_us <= 60_000_000
        )

    @staticmethod
    def reason_name(reason: int) -> str:
        """Return a rejection as a word, such as `clock_skew`."""
        name: str = handshake_pb2.WorkerHandshakeRejectionReason.Name(reason)
        return name.removeprefix("WORKER_HANDSHAKE_REJECTION_REASON_").lower()


def _nonce(nonce: bytes) -> bytes:
    return nonce if len(nonce) == NONCE_BYTES else secrets.token_bytes(NONCE_BYTES)
