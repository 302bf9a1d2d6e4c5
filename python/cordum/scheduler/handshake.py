"""The server side of the worker trust handshake (protocol spec §14).

Both steps work on batches: what costs a round trip is done once for all requests of a batch. A step that cannot be
finished is answered with a rejection, never with an acceptance.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from cachetools import TTLCache
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from nats.aio.msg import Msg

from cordum.bus.connection import Bus
from cordum.domain.errors import CordumError
from cordum.domain.worker_credentials import WorkerCredential
from cordum.protocol import trust_packets as wire
from cordum.protocol.trust_packets import Reason
from cordum.runtime.clock import monotonic_s, now_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.attestation import Attestor
from cordum.scheduler.handshake_replies import Replies
from cordum.scheduler.session_book import SessionBook
from cordum.scheduler.trust_trail import TrustTrail
from cordum.security.session_tokens import LIFETIME_S, SessionClaims, SessionTokens
from cordum.store.agents import load_agents
from cordum.store.connection import RedisClient
from cordum.store.worker_sessions import NewSession, Session, WorkerSessions

__all__ = ["Handshakes"]

SKEW_S: Final = 60
_REJECTIONS_PER_S: Final = 5
_WORKERS_MAX: Final = 10_000

_log = structlog.get_logger("cordum.scheduler")


@dataclass(slots=True)
class _Asked:
    """One request on its way; ``reason`` is set once it is refused."""

    message: Msg
    packet: Any
    phase: str
    reason: int = 0
    credential: WorkerCredential | None = None
    kept: bytes = b""
    """The challenge as we made it."""

    @property
    def body(self) -> Any:
        """The request, or the challenge that is answered."""
        part = getattr(self.packet, self.phase)
        return part if self.phase == wire.CHALLENGE_REQUEST else part.challenge

    @property
    def proven(self) -> WorkerCredential:
        """The credential that was found. Raises CordumError before."""
        if self.credential is None:
            raise CordumError("a handshake goes on without credential")
        return self.credential

    @property
    def worker_id(self) -> str:
        """The worker it speaks of."""
        return str(self.body.worker_id)


class Handshakes:
    """Answers the two subjects. ``on_session`` makes a capability count: credential, announced handshake."""

    def __init__(
        self,
        redis: RedisClient,
        bus: Bus,
        attestor: Attestor,
        sessions: WorkerSessions,
        book: SessionBook,
        tokens: SessionTokens,
        replies: Replies,
        trail: TrustTrail,
        on_session: Callable[[WorkerCredential, Any], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._bus = bus
        self._attestor = attestor
        self._sessions = sessions
        self._book = book
        self._tokens = tokens
        self._replies = replies
        self._trail = trail
        self._on_session = on_session
        self._rejected: TTLCache[str, int] = TTLCache(_WORKERS_MAX, 1.0, timer=monotonic_s)

    async def on_challenge(self, messages: list[Msg]) -> None:
        """Answer requests for a challenge (§14.4)."""
        asked = self._opened(messages, wire.CHALLENGE_REQUEST)
        await self._identify(asked)
        await self._guard(asked, self._challenge)
        await self._reject(asked)

    async def on_authenticate(self, messages: list[Msg]) -> None:
        """Answer signed challenges (§14.5)."""
        asked = self._opened(messages, wire.AUTHENTICATE)
        await self._guard(asked, self._match_challenges)
        await self._identify(asked)
        await self._guard(asked, self._check_renewals)
        await self._guard(asked, self._consume)
        for one in _open(asked):
            await self._guard([one], self._issue)
        await self._reject(asked)

    def _opened(self, messages: list[Msg], phase: str) -> list[_Asked]:
        """Parse; what is not a packet, or wants no reply, is dropped."""
        asked: list[_Asked] = []
        for message in messages:
            packet = wire.parse_trust_packet(message.data)
            if packet is None or not message.reply or not packet.HasField(phase):
                continue
            one = _Asked(message, packet, phase)
            if not wire.is_well_formed(message.data, phase):
                one.reason = Reason.INVALID_REQUEST
            elif abs(packet.created_at.ToMicroseconds() - now_us()) > SKEW_S * 1_000_000:
                one.reason = Reason.CLOCK_SKEW
            asked.append(one)
        return asked

    async def _guard(self, asked: Sequence[_Asked], step: Callable[[list[_Asked]], Awaitable[None]]) -> None:
        """Run a step for what is still open; when it fails, that is refused."""
        pending = _open(asked)
        if not pending:
            return
        try:
            await step(pending)
        except (CordumError, ValueError) as error:
            _log.error("worker handshake step failed", step=step.__name__, reason=str(error))
            for one in _open(pending):
                one.reason = Reason.INTERNAL_ERROR

    async def _identify(self, asked: Sequence[_Asked]) -> None:
        """Check credential, agent and signature: our records count, never what a packet says."""
        await self._guard(asked, self._find_agents)
        for one in _open(asked):
            key = _public_key(one.credential)
            if key is None or not wire.is_signed_by(one.packet, {one.body.proof_key_id: key}):
                one.reason = Reason.AUTHENTICATION_FAILED

    async def _find_agents(self, asked: list[_Asked]) -> None:
        await self._attestor.meet(one.worker_id for one in asked)
        for one in asked:
            credential = self._attestor.credential(one.worker_id)
            if (
                credential is None
                or credential.proof_key_id != one.body.proof_key_id
                or not credential.agent_id
            ):
                one.reason = Reason.AUTHENTICATION_FAILED
            one.credential = credential
        known = [(one, one.credential) for one in _open(asked) if one.credential is not None]
        agents = await load_agents(self._redis, [credential.agent_id for _, credential in known])
        for (one, credential), agent in zip(known, agents, strict=True):
            if agent is None or not agent.may_act_for(credential.tenant_id):
                one.reason = Reason.AUTHENTICATION_FAILED

    async def _challenge(self, asked: list[_Asked]) -> None:
        new = await self._sessions.use_once(
            [(one.worker_id, one.body.client_nonce.hex(), one.body.request_id) for one in asked]
        )
        answers: list[tuple[_Asked, bytes]] = []
        kept: dict[str, bytes] = {}
        for one, is_new in zip(asked, new, strict=True):
            if not is_new:
                one.reason = Reason.REPLAY_DETECTED
                continue
            challenge = self._replies.challenge(one.body, one.proven)
            kept[challenge.challenge_id] = challenge.SerializeToString(deterministic=True)
            answers.append((one, self._replies.encode(one.body.trace_id, challenge=challenge)))
        await self._sessions.keep_challenges(kept)
        for one, answer in answers:
            await self._send(one, answer)

    async def _match_challenges(self, asked: list[_Asked]) -> None:
        found = await self._sessions.challenges([one.body.challenge_id for one in asked], take=False)
        for one, stored in zip(asked, found, strict=True):
            if stored is None or one.body.expires_at.ToMicroseconds() <= now_us():
                one.reason = Reason.CHALLENGE_EXPIRED
            elif one.body.SerializeToString(deterministic=True) != stored:
                one.reason = Reason.AUTHENTICATION_FAILED
            else:
                one.kept = stored

    async def _check_renewals(self, asked: list[_Asked]) -> None:
        renewals = [one for one in asked if one.body.purpose == wire.RENEW]
        for one in renewals:
            if not one.packet.auth_token:
                one.reason = Reason.SESSION_REQUIRED
        pending = _open(renewals)
        sessions = await self._sessions.read([one.worker_id for one in pending])
        for one, session in zip(pending, sessions, strict=True):
            claims = self._tokens.read(one.packet.auth_token)
            if claims is None or not self._may_renew(one, claims, session):
                one.reason = Reason.SESSION_INVALID

    @staticmethod
    def _may_renew(one: _Asked, claims: SessionClaims, session: Session | None) -> bool:
        """The token must be the active session of exactly this worker, agent, tenant and key, and not over."""
        credential = one.credential
        if session is None or session.is_revoked or credential is None or claims.expires_at <= now_s():
            return False
        mine = (credential.tenant_id, credential.agent_id, credential.proof_key_id)
        return (
            (claims.subject, claims.jti) == (one.worker_id, session.jti)
            and (claims.tenant, claims.agent_id, claims.proof_key_id) == mine
            and (session.tenant, session.agent_id, session.proof_key_id) == mine
        )

    async def _consume(self, asked: list[_Asked]) -> None:
        """Take the challenges, so that each is answered once, before anything is made of them."""
        taken = await self._sessions.challenges([one.body.challenge_id for one in asked], take=True)
        for one, content in zip(asked, taken, strict=True):
            if content is None or content != one.kept:
                one.reason = Reason.REPLAY_DETECTED

    async def _issue(self, asked: list[_Asked]) -> None:
        (one,) = asked
        credential, now = one.proven, now_s()
        renewed = self._tokens.read(one.packet.auth_token) if one.body.purpose == wire.RENEW else None
        session = NewSession(
            credential.worker_id,
            secrets.token_hex(16),
            credential.tenant_id,
            credential.agent_id,
            credential.proof_key_id,
            now,
            now + LIFETIME_S,
        )
        outcome = await self._sessions.mint(session, renews=renewed.jti if renewed is not None else "")
        if outcome != "minted":
            one.reason = Reason.SESSION_INVALID
            return
        token = self._tokens.mint(_claims(session, one.body.sdk_version))
        self._book.learn(session.worker_id, _stored(session))
        await self._on_session(credential, one.packet.worker_handshake_authenticate.capability_handshake)
        await self._send(one, self._replies.accepted(one.body, token, session))
        change, ended = ("renewed", "renewed") if renewed is not None else ("issued", "accepted")
        metrics.HANDSHAKES.labels(ended, "").inc()
        await self._trail.change(change, session.worker_id, session.tenant, session.jti, session.agent_id)
        await self._trail.handshake(
            *(ended, session.worker_id, session.tenant),
            sdk=one.body.sdk_version,
            jti=session.jti,
        )

    async def _reject(self, asked: Sequence[_Asked]) -> None:
        for one in asked:
            if not one.reason:
                continue
            metrics.HANDSHAKES.labels("rejected", self._replies.reason_name(one.reason)).inc()
            count = self._rejected.get(one.worker_id, 0) + 1
            self._rejected[one.worker_id] = count
            if count > _REJECTIONS_PER_S:
                continue
            reason = self._replies.reason_name(one.reason)
            _log.warning("worker handshake rejected", worker_id=one.worker_id[:256], reason=reason)
            tenant = one.credential.tenant_id if one.credential is not None else "default"
            try:
                await self._send(one, self._replies.rejected(one.body, one.reason))
            except (CordumError, ValueError) as error:
                _log.warning("worker handshake rejection not sent", reason=str(error))
            await self._trail.handshake(
                *("rejected", one.worker_id[:256], tenant), reason=reason, sdk=one.body.sdk_version[:256]
            )

    async def _send(self, one: _Asked, answer: bytes) -> None:
        await self._bus.publish_core(one.message.reply, answer)


def _open(asked: Sequence[_Asked]) -> list[_Asked]:
    return [one for one in asked if not one.reason]


def _public_key(credential: WorkerCredential | None) -> ec.EllipticCurvePublicKey | None:
    if credential is None or not credential.proof_public_key_pem:
        return None
    try:
        key = load_pem_public_key(credential.proof_public_key_pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _claims(session: NewSession, sdk_version: str) -> SessionClaims:
    return SessionClaims(
        session.worker_id,
        session.tenant,
        session.jti,
        session.issued_at,
        session.expires_at,
        session.agent_id,
        session.proof_key_id,
        sdk_version,
    )


def _stored(session: NewSession) -> Session:
    return Session(
        session.jti,
        session.tenant,
        session.agent_id,
        session.proof_key_id,
        session.issued_at,
        session.expires_at,
    )
