"""What the scheduler knows of worker sessions, and what a token is therefore worth (protocol spec §15.1, §15.3).

The sessions of all workers that showed one are read once a second in one pipeline; packets are judged against that. A
token nobody knows yet is looked up when it comes, once per batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import structlog
from cachetools import LRUCache

from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s, now_s
from cordum.scheduler import metrics
from cordum.security.session_tokens import SessionClaims, SessionTokens, is_session_form
from cordum.store.worker_sessions import GRACE_S, Session, WorkerSessions

__all__ = ["REFRESH_S", "STALE_S", "Change", "SessionBook", "TokenVerdict"]

REFRESH_S: Final = 1.0
STALE_S: Final = 5.0
"""So old may be what was read of sessions; then they prove nothing."""
_CLAIMS_MAX: Final = 50_000

Reason = Literal[
    "", "missing", "invalid_token", "foreign_token", "expired_token", "revoked_token", "trust_store_unready"
]
"""Why a token proves nothing; empty when it does."""
Change = Literal["session_revoked", "session_expired", "trust_store_unready"]

_log = structlog.get_logger("cordum.scheduler")


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """What a token is worth."""

    reason: Reason
    claims: SessionClaims | None = None

    @property
    def is_valid(self) -> bool:
        """Tell whether the token proves its claims."""
        return not self.reason


_MISSING: Final = TokenVerdict("missing")
_UNREADY: Final = TokenVerdict("trust_store_unready")

Presented = tuple[str, str, float]
"""Token, sender of its packet, when the packet was published (Unix seconds)."""


class SessionBook:
    """``on_change`` hears of a worker whose session ended: worker id, the session, what happened."""

    def __init__(
        self,
        sessions: WorkerSessions,
        tokens: SessionTokens,
        on_change: Callable[[str, Session | None, Change], Awaitable[None]],
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._on_change = on_change
        self._rows: dict[str, Session] = {}
        self._claims: LRUCache[str, SessionClaims | None] = LRUCache(_CLAIMS_MAX)
        self._read_s = monotonic_s()
        self._is_ready = True
        self.on_sessions: Callable[[Mapping[str, Session], bool], None] = lambda _rows, _whole: None
        """Hears of sessions that were read, and whether these are all there are."""

    async def run(self) -> None:
        """Keep the book current until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read every known session again."""
        ids = list(self._rows)
        try:
            found = await self._sessions.read(ids)
        except CordumError as error:
            await self._note_outage(error.message)
            return
        self._read_s = monotonic_s()
        self._is_ready = True
        for worker_id, session in zip(ids, found, strict=True):
            await self._note(worker_id, session)
        self.on_sessions(self._rows, True)

    async def _note_outage(self, reason: str) -> None:
        if monotonic_s() - self._read_s < STALE_S or not self._is_ready:
            return
        self._is_ready = False
        _log.error("worker sessions cannot be read, their tokens prove nothing now", reason=reason)
        await self._on_change("*", None, "trust_store_unready")

    async def _note(self, worker_id: str, session: Session | None) -> None:
        before = self._rows.get(worker_id)
        if session is None:
            self._rows.pop(worker_id, None)
        else:
            self._rows[worker_id] = session
        known = session or before
        if known is None:
            return
        is_live = session is not None and not session.is_revoked and session.expires_at > now_s()
        if session is None:
            metrics.forget_session(worker_id, known.tenant)
        else:
            metrics.SESSION_VALID.labels(worker_id, known.tenant).set(float(is_live))
        if before is None or is_live:
            return
        if session is None and not before.is_revoked:
            await self._on_change(worker_id, before, "session_expired")
        elif session is not None and session.is_revoked and not before.is_revoked:
            await self._on_change(worker_id, session, "session_revoked")

    def learn(self, worker_id: str, session: Session) -> None:
        """Take in a session that was just made."""
        self._rows[worker_id] = session
        metrics.SESSION_VALID.labels(worker_id, session.tenant).set(1.0)
        self.on_sessions({worker_id: session}, False)

    async def recall(self, worker_ids: Iterable[str]) -> None:
        """Look up the sessions of workers that showed none here."""
        await self._look_up(worker_ids)

    def proof_key_of(self, worker_id: str) -> str:
        """Return the id of the key the active session was proven with."""
        row = self._rows.get(worker_id)
        return row.proof_key_id if row is not None else ""

    async def judge(self, presented: Sequence[Presented]) -> list[TokenVerdict]:
        """Judge the tokens of a batch: what is known costs nothing, the rest one or two pipelines."""
        read = [self._read(token) for token, _, _ in presented]
        unread = await self._look_up(
            claims.subject for claims in read if claims is not None and not self._knows(claims)
        )
        verdicts = [
            self._judge(token, sender, at_s, claims)
            if claims is None or claims.subject not in unread
            else _UNREADY
            for (token, sender, at_s), claims in zip(presented, read, strict=True)
        ]
        return await self._without_revoked(verdicts)

    def _read(self, token: str) -> SessionClaims | None:
        if not is_session_form(token):
            return None
        if token not in self._claims:
            self._claims[token] = self._tokens.read(token)
        return self._claims[token]

    def _knows(self, claims: SessionClaims) -> bool:
        row = self._rows.get(claims.subject)
        return claims.is_service or (row is not None and claims.jti in (row.jti, row.previous_jti))

    async def _look_up(self, worker_ids: Iterable[str]) -> set[str]:
        """Read sessions; return the workers whose session could not be read."""
        wanted = sorted(set(worker_ids))
        if not wanted:
            return set()
        try:
            found = await self._sessions.read(wanted)
        except CordumError as error:
            _log.warning("worker sessions not looked up", reason=error.message)
            return set(wanted)
        met = {w: session for w, session in zip(wanted, found, strict=True) if session is not None}
        self._rows.update(met)
        self.on_sessions(met, False)
        return set()

    def _judge(self, token: str, sender: str, at_s: float, claims: SessionClaims | None) -> TokenVerdict:
        if not is_session_form(token):
            # A worker credential in this place counts as no token.
            return _MISSING
        if claims is None:
            return TokenVerdict("invalid_token")
        if not claims.is_service and claims.subject != sender:
            return TokenVerdict("foreign_token")
        if not claims.holds_at(at_s):
            return TokenVerdict("expired_token")
        if claims.is_service:
            return TokenVerdict("", claims)
        if not self._is_ready or monotonic_s() - self._read_s > STALE_S:
            return _UNREADY
        return TokenVerdict(self._standing(claims, at_s), claims)

    def _standing(self, claims: SessionClaims, at_s: float) -> Reason:
        """Judge by the stored session: the active token, the one before it, or an older one of an old message."""
        row = self._rows.get(claims.subject)
        if row is None:
            # Its key is gone when the session is over; then only a message from before counts.
            return "" if claims.expires_at <= now_s() else "invalid_token"
        if claims.jti in (row.jti, row.previous_jti) and row.is_revoked:
            return "revoked_token"
        if claims.jti == row.jti:
            return ""
        replaced_at = (
            row.issued_at if claims.jti == row.previous_jti else (row.previous_issued or row.issued_at)
        )
        return "" if at_s <= replaced_at + GRACE_S and claims.issued_at <= replaced_at else "invalid_token"

    async def _without_revoked(self, verdicts: list[TokenVerdict]) -> list[TokenVerdict]:
        """Ask the store about valid tokens that are not the active one or the one before it."""
        doubtful = {
            (verdict.claims.tenant, verdict.claims.jti)
            for verdict in verdicts
            if verdict.is_valid and verdict.claims is not None and not self._knows(verdict.claims)
        }
        if not doubtful:
            return verdicts
        asked = sorted(doubtful)
        try:
            answers = dict(zip(asked, await self._sessions.revoked(asked), strict=True))
        except CordumError as error:
            _log.warning("revoked sessions not looked up", reason=error.message)
            answers = {}
        return [self._final(verdict, answers, doubtful) for verdict in verdicts]

    @staticmethod
    def _final(
        verdict: TokenVerdict, answers: dict[tuple[str, str], bool], doubtful: set[tuple[str, str]]
    ) -> TokenVerdict:
        key = (verdict.claims.tenant, verdict.claims.jti) if verdict.claims is not None else ("", "")
        if not verdict.is_valid or key not in doubtful:
            return verdict
        if key not in answers:
            return _UNREADY
        return TokenVerdict("revoked_token") if answers[key] else verdict
