"""Sessions of workers and the steps of their trust handshake in Redis (protocol spec §14, §15.1).

Every step touches one key. A session ends with its key; a revoked one stays visible until then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cordum.domain.errors import CordumError
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import script

__all__ = ["GRACE_S", "NewSession", "Session", "WorkerSessions", "swap_heartbeat_mode"]

GRACE_S: Final = 60
"""How long packets with the token before the newest one still count."""
_USED_S: Final = 120
_CHALLENGE_S: Final = 60

MintOutcome = Literal["minted", "superseded", "revoked"]


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be stored. Times are Unix seconds."""

    worker_id: str
    jti: str
    tenant: str
    agent_id: str
    proof_key_id: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """A stored session. ``previous_*`` describe the one it replaced."""

    jti: str
    tenant: str
    agent_id: str
    proof_key_id: str
    issued_at: int
    expires_at: int
    revoked_jti: str = ""
    previous_jti: str = ""
    previous_until: int = 0
    previous_issued: int = 0

    @property
    def is_revoked(self) -> bool:
        """Tell whether the active token was revoked."""
        return bool(self.revoked_jti) and self.revoked_jti == self.jti


class WorkerSessions:
    """Repository; all methods raise Unavailable."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def mint(self, session: NewSession, *, renews: str = "") -> MintOutcome:
        """Make a session the active one; ``renews`` names the one that must be active until then."""
        command = script("session_mint").command(
            (keys.worker_session(session.worker_id),),
            (
                *(session.issued_at, session.jti, session.expires_at, session.tenant, session.agent_id),
                *(session.proof_key_id, renews, GRACE_S),
            ),
        )
        outcome: MintOutcome = (await self._client.execute(*command))[0].decode()
        return outcome

    async def revoke(self, worker_id: str, *, tenant: str = "", now_s: int) -> Session | None:
        """Revoke the active session, of ``tenant`` if given; return it, or None when there is none."""
        command = script("session_revoke").command((keys.worker_session(worker_id),), (now_s, tenant))
        reply = await self._client.execute(*command)
        if reply[0] != b"revoked":
            return None
        jti, owner, expires_text, previous = (part.decode() for part in reply[1:])
        expires_at = int(expires_text)
        left_s = max(1, expires_at - now_s)
        marks = [keys.session_revoked(owner, one) for one in (jti, previous) if one]
        for answer in await self._client.pipeline([("SET", mark, 1, "EX", left_s) for mark in marks]):
            if isinstance(answer, Exception):
                raise answer
        return Session(jti, owner, "", "", 0, expires_at, revoked_jti=jti, previous_jti=previous)

    async def read(self, worker_ids: Sequence[str]) -> list[Session | None]:
        """Return the sessions of workers in one round trip per node."""
        replies = await self._client.pipeline([("HGETALL", keys.worker_session(w)) for w in worker_ids])
        found: list[Session | None] = []
        for reply in replies:
            if isinstance(reply, CordumError):
                raise reply
            found.append(_session(_pairs(reply)))
        return found

    async def revoked(self, sessions: Sequence[tuple[str, str]]) -> list[bool]:
        """Tell for (tenant, jti) whether each was revoked."""
        replies = await self._client.pipeline([("EXISTS", keys.session_revoked(*one)) for one in sessions])
        for reply in replies:
            if isinstance(reply, CordumError):
                raise reply
        return [bool(reply) for reply in replies]

    async def use_once(self, requests: Sequence[tuple[str, str, str]]) -> list[bool]:
        """Note (worker, client nonce in hex, request id); tell for each whether both are new."""
        commands = [
            ("SET", key, 1, "NX", "EX", _USED_S)
            for worker_id, nonce, request_id in requests
            for key in (
                keys.handshake_nonce(worker_id, nonce),
                keys.handshake_request(worker_id, request_id),
            )
        ]
        replies = await self._client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, CordumError):
                raise reply
        return [replies[i] is not None and replies[i + 1] is not None for i in range(0, len(replies), 2)]

    async def keep_challenges(self, challenges: Mapping[str, bytes]) -> None:
        """Keep challenges until they are answered, for a minute."""
        commands = [
            ("SET", keys.handshake_challenge(challenge_id), content, "EX", _CHALLENGE_S)
            for challenge_id, content in challenges.items()
        ]
        for reply in await self._client.pipeline(commands):
            if isinstance(reply, CordumError):
                raise reply

    async def challenges(self, challenge_ids: Sequence[str], *, take: bool) -> list[bytes | None]:
        """Return the bytes of challenges; ``take``: so that nobody gets them again."""
        name = "GETDEL" if take else "GET"
        replies = await self._client.pipeline(
            [(name, keys.handshake_challenge(challenge_id)) for challenge_id in challenge_ids]
        )
        for reply in replies:
            if isinstance(reply, CordumError):
                raise reply
        return list(replies)


async def swap_heartbeat_mode(client: RedisClient, mode: str) -> str:
    """Store the mode by which schedulers judge who lives; return the one before, empty when there was none.

    Raises Unavailable. The key has no TTL: it is one word that the next start compares with.
    """
    before = await client.execute("SET", keys.HEARTBEAT_MODE, mode, "GET")
    return before.decode() if before is not None else ""


def _pairs(reply: list[bytes]) -> dict[str, str]:
    texts = [part.decode("utf-8", "replace") for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _session(fields: Mapping[str, str]) -> Session | None:
    """Read a hash; one that is damaged is no session."""
    try:
        return Session(
            fields["jti"],
            fields["tenant"],
            fields["agent_id"],
            fields["proof_key_id"],
            int(fields.get("issued_unix", "0")),
            int(fields["exp_unix"]),
            fields.get("revoked", ""),
            fields.get("prev_jti", ""),
            int(fields.get("prev_until", "0")),
            int(fields.get("prev_issued", "0")),
        )
    except (KeyError, ValueError):
        return None
