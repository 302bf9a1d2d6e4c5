"""Sessions that decide which workers live (protocol spec §15.4, scheduler spec §20).

The worker table learns once a second which sessions are live. What it was told holds only as long as the book of
sessions counts as current, so a store that does not answer leaves no worker to offer jobs to.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog
from cachetools import TTLCache

from cordum._core import Planner
from cordum.config.worker_trust import HeartbeatMode
from cordum.runtime.clock import monotonic_s, now_s, now_us
from cordum.scheduler.attestation import Attestor
from cordum.scheduler.session_book import REFRESH_S, STALE_S
from cordum.scheduler.trust_trail import TrustTrail
from cordum.store.worker_sessions import Session

__all__ = ["SessionAuthority"]

_TOLD_MAX: Final = 20_000
_HOUR_S: Final = 3_600.0

OnCapacity = Callable[[Iterable[tuple[str, str, bool]], Mapping[str, str]], None]

_log = structlog.get_logger("cordum.scheduler")


class SessionAuthority:
    """Tells the worker table who lives; ``mode`` is never `authority` here."""

    def __init__(self, mode: HeartbeatMode, planner: Planner, attestor: Attestor, trail: TrustTrail) -> None:
        self._mode = mode
        self._planner = planner
        self._attestor = attestor
        self._trail = trail
        self._told: TTLCache[tuple[str, str], bool] = TTLCache(_TOLD_MAX, _HOUR_S, timer=monotonic_s)
        self._rows: Mapping[str, Session] | None = None
        """What was read last, until it is compared with the heartbeats."""
        self.on_capacity: OnCapacity = lambda _found, _traces: None

    def take(self, rows: Mapping[str, Session], whole: bool) -> None:
        """Take over sessions that were just read; with ``whole``, all others are over."""
        until_us = now_us() + int(STALE_S * 1_000_000)
        live = [
            (worker_id, min(session.expires_at * 1_000_000, until_us))
            for worker_id, session in rows.items()
            if not session.is_revoked and self._is_bound(worker_id, session)
        ]
        found = self._planner.set_sessions(live, whole, now_us())
        if whole:
            self._rows = rows
        if found:
            self.on_capacity(found, {})

    def _is_bound(self, worker_id: str, session: Session) -> bool:
        """A session lives no longer than the credential it was proven with."""
        credential = self._attestor.credential(worker_id)
        if credential is None:
            return False
        mine = (credential.tenant_id, credential.agent_id, credential.proof_key_id)
        return mine == (session.tenant, session.agent_id, session.proof_key_id)

    async def run(self) -> None:
        """Compare sessions and heartbeats whenever sessions were read, until cancelled."""
        while self._mode == "warn":
            await asyncio.sleep(REFRESH_S)
            rows, self._rows = self._rows, None
            if rows is not None:
                await self.report(rows)

    async def report(self, rows: Mapping[str, Session]) -> None:
        """Log and audit workers whose heartbeats say something else than their sessions, each once an hour."""
        for worker_id, direction in self._planner.disagreements(now_us()):
            if (worker_id, direction) in self._told:
                continue
            self._told[worker_id, direction] = True
            session = rows.get(worker_id)
            _log.error(
                "session and heartbeats of a worker disagree", worker_id=worker_id, direction=direction
            )
            await self._trail.disagreement(
                worker_id,
                session.tenant if session is not None else self._tenant_of(worker_id),
                direction,
                jti=session.jti if session is not None else "",
                hour=int(now_s() // _HOUR_S),
            )

    def _tenant_of(self, worker_id: str) -> str:
        credential = self._attestor.credential(worker_id)
        return credential.tenant_id if credential is not None else "default"
