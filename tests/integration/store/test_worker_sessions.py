"""Sessions of workers in Redis, on one server and on a cluster (protocol spec §14.4, §14.5, §15.1)."""

from dataclasses import replace

import pytest

from cordum.store.connection import RedisClient
from cordum.store.worker_sessions import NewSession, WorkerSessions

NOW = 1_800_000_000
FIRST = NewSession("w-1", "jti-1", "acme", "agent-1", "key-1", NOW, NOW + 3_600)


@pytest.fixture
def sessions(redis_client: RedisClient) -> WorkerSessions:
    """The repository on an empty deployment."""
    return WorkerSessions(redis_client)


async def fields(client: RedisClient, worker_id: str = "w-1") -> dict[str, str]:
    flat = [part.decode() for part in await client.execute("HGETALL", f"session:worker:{worker_id}")]
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def test_a_session_lives_as_long_as_its_token(
    sessions: WorkerSessions, redis_client: RedisClient
) -> None:
    assert await sessions.mint(FIRST) == "minted"
    assert await fields(redis_client) == {
        "jti": "jti-1",
        "exp_unix": str(NOW + 3_600),
        "issued_unix": str(NOW),
        "tenant": "acme",
        "agent_id": "agent-1",
        "proof_key_id": "key-1",
    }
    assert 3_590 < await redis_client.execute("TTL", "session:worker:w-1") <= 3_600
    found, absent = await sessions.read(["w-1", "w-2"])
    assert absent is None
    assert found is not None
    assert (found.jti, found.expires_at, found.is_revoked) == ("jti-1", NOW + 3_600, False)


async def test_the_session_before_is_kept_for_a_minute(
    sessions: WorkerSessions, redis_client: RedisClient
) -> None:
    await sessions.mint(FIRST)
    second = replace(FIRST, jti="jti-2", issued_at=NOW + 100, expires_at=NOW + 3_700)
    assert await sessions.mint(second, renews="jti-1") == "minted"
    stored = await fields(redis_client)
    assert (stored["jti"], stored["prev_jti"], stored["prev_until"]) == ("jti-2", "jti-1", str(NOW + 160))


@pytest.mark.parametrize(
    ("renews", "at", "outcome"),
    [
        ("jti-0", NOW + 1, "superseded"),
        ("jti-1", NOW + 3_600, "superseded"),
        ("jti-1", NOW + 3_599, "minted"),
    ],
)
async def test_only_the_active_live_session_is_renewed(
    sessions: WorkerSessions, renews: str, at: int, outcome: str
) -> None:
    await sessions.mint(FIRST)
    new = replace(FIRST, jti="jti-2", issued_at=at, expires_at=at + 3_600)
    assert await sessions.mint(new, renews=renews) == outcome
    (found,) = await sessions.read(["w-1"])
    assert found is not None
    assert found.jti == ("jti-2" if outcome == "minted" else "jti-1")


async def test_nothing_is_renewed_that_is_not_there(sessions: WorkerSessions) -> None:
    assert await sessions.mint(FIRST, renews="jti-0") == "superseded"
    assert await sessions.read(["w-1"]) == [None]


async def test_a_revoked_session_is_marked_with_the_one_before_and_never_renewed(
    sessions: WorkerSessions, redis_client: RedisClient
) -> None:
    await sessions.mint(FIRST)
    await sessions.mint(replace(FIRST, jti="jti-2"), renews="jti-1")
    assert await sessions.revoke("w-1", tenant="globex", now_s=NOW) is None
    ended = await sessions.revoke("w-1", tenant="acme", now_s=NOW)
    assert ended is not None
    assert (ended.jti, ended.tenant) == ("jti-2", "acme")
    marks = [("acme", "jti-2"), ("acme", "jti-1"), ("acme", "jti-3"), ("globex", "jti-2")]
    assert await sessions.revoked(marks) == [True, True, False, False]
    assert 3_590 < await redis_client.execute("TTL", "session:revoked:acme:jti-2") <= 3_600
    (found,) = await sessions.read(["w-1"])
    assert found is not None
    assert found.is_revoked
    assert await sessions.mint(replace(FIRST, jti="jti-3"), renews="jti-2") == "revoked"
    # A new proof makes a new session, of which the revoked one is no predecessor.
    assert await sessions.mint(replace(FIRST, jti="jti-4")) == "minted"
    (found,) = await sessions.read(["w-1"])
    assert found is not None
    assert (found.jti, found.previous_jti, found.is_revoked) == ("jti-4", "", False)


async def test_nonces_requests_and_challenges_are_used_once(
    sessions: WorkerSessions, redis_client: RedisClient
) -> None:
    assert await sessions.use_once([("w-1", "aa", "r-1"), ("w-2", "aa", "r-1")]) == [True, True]
    assert await sessions.use_once([("w-1", "bb", "r-1"), ("w-1", "aa", "r-2"), ("w-1", "cc", "r-3")]) == [
        False,
        False,
        True,
    ]
    assert 110 < await redis_client.execute("TTL", "session:nonce:w-1:aa") <= 120
    await sessions.keep_challenges({"c-1": b"one", "c-2": b"two"})
    assert 50 < await redis_client.execute("TTL", "session:challenge:c-1") <= 60
    assert await sessions.challenges(["c-1", "c-3"], take=False) == [b"one", None]
    assert await sessions.challenges(["c-1", "c-2"], take=True) == [b"one", b"two"]
    assert await sessions.challenges(["c-1", "c-2"], take=True) == [None, None]


async def test_a_damaged_session_is_none(sessions: WorkerSessions, redis_client: RedisClient) -> None:
    await redis_client.execute("HSET", "session:worker:w-1", "jti", "x", "exp_unix", "soon")
    assert await sessions.read(["w-1"]) == [None]
