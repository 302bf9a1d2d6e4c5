"""Sessions of workers as the API shows them (gateway spec §17, protocol spec §15.4)."""

from collections.abc import Sequence
from typing import Any

from cordum.domain.errors import CordumError
from cordum.runtime.clock import now_s
from cordum.store.worker_sessions import Session, WorkerSessions

__all__ = ["add_sessions"]


async def add_sessions(sessions: WorkerSessions, workers: Sequence[dict[str, Any]]) -> None:
    """Add the state of its session to each worker; `trust_store_unready` when that cannot be read."""
    if not workers:
        return
    try:
        found: Sequence[Session | None] = await sessions.read([str(one["worker_id"]) for one in workers])
    except CordumError:
        for worker in workers:
            worker |= {"session_state": "trust_store_unready", "session_valid": False}
        return
    now = now_s()
    for worker, session in zip(workers, found, strict=True):
        if session is not None:
            state = _state(session, now)
            worker |= {
                "session_state": state,
                "session_valid": state == "valid",
                "session_exp_ms": session.expires_at * 1_000,
                "session_revoked": session.is_revoked,
            }


def _state(session: Session, now: int) -> str:
    if session.is_revoked:
        return "session_revoked"
    return "valid" if session.expires_at > now else "session_expired"
