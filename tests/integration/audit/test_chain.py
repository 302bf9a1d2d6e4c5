"""The audit chain on real servers, standalone and cluster (security spec §19.3, §19.5)."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from cordum.audit import AuditChain, AuditEvent, ChainKeys, verify_chain
from cordum.audit.events import canonical
from cordum.domain.errors import CordumError
from cordum.store import keys
from cordum.store.connection import RedisClient

KEY = ChainKeys(bytes(range(32)), "k1")
Damage = Callable[[RedisClient, str], Awaitable[Any]]


def event(tenant: str, action: str = "set", **members: Any) -> AuditEvent:
    return AuditEvent("safety.policy_change", "HIGH", tenant, action, **members)


@pytest.fixture
def tenant() -> str:
    return f"t-{secrets.token_hex(6)}"


async def stream(client: RedisClient, tenant: str) -> list[tuple[bytes, dict[str, Any]]]:
    entries = await client.execute("XRANGE", keys.audit_chain(tenant), "-", "+")
    return [(entry[0], orjson.loads(entry[1][3])) for entry in entries]


async def rewrite(client: RedisClient, tenant: str, events: list[dict[str, Any]]) -> None:
    """Put other events in place of the chain, as somebody with access to Redis can."""
    await client.execute("DEL", keys.audit_chain(tenant))
    for fields in events:
        await client.execute(
            "XADD", keys.audit_chain(tenant), "*", "seq", fields["seq"], "event", canonical(fields)
        )


async def filled(client: RedisClient, tenant: str, chain_keys: ChainKeys = KEY, count: int = 5) -> AuditChain:
    chain = AuditChain(client, chain_keys)
    for number in range(count):
        await chain.append(event(tenant, f"action-{number}", identity="kim", extra={"n": str(number)}))
    return chain


async def test_concurrent_writers_make_one_unbroken_chain(redis_client: RedisClient, tenant: str) -> None:
    writers = [AuditChain(redis_client, KEY) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(writers[number % 4].append(event(tenant, f"a{number}")))

    report = await verify_chain(writers[0], tenant)
    assert (report.status, report.total_events, report.verified_events) == ("ok", 40, 40)
    assert (report.first_seq, report.last_seq, report.hmac_verified) == (1, 40, 40)
    assert {fields["action"] for _, fields in await stream(redis_client, tenant)} == {
        f"a{n}" for n in range(40)
    }


async def test_an_event_is_taken_once_however_often_it_comes(redis_client: RedisClient, tenant: str) -> None:
    chain = AuditChain(redis_client)
    again = event(tenant)
    assert [await chain.append(again) for _ in range(3)] == [True, False, False]
    late = event(tenant)
    assert await chain.append(late, outbox="policy") is True
    # The 24 h memory forgets, the outbox does not.
    await redis_client.execute("DEL", keys.audit_seen(tenant))
    assert await chain.append(late, outbox="policy") is False
    assert len(await stream(redis_client, tenant)) == 2


async def _edit(client: RedisClient, tenant: str) -> None:
    events = [fields for _, fields in await stream(client, tenant)]
    events[2]["identity"] = "mallory"
    await rewrite(client, tenant, events)


async def _remove(client: RedisClient, tenant: str) -> None:
    await client.execute("XDEL", keys.audit_chain(tenant), (await stream(client, tenant))[2][0])


async def _remove_first(client: RedisClient, tenant: str) -> None:
    await client.execute("XDEL", keys.audit_chain(tenant), (await stream(client, tenant))[0][0])


async def _swap(client: RedisClient, tenant: str) -> None:
    events = [fields for _, fields in await stream(client, tenant)]
    events[1], events[2] = events[2], events[1]
    await rewrite(client, tenant, events)


async def _cut_tail(client: RedisClient, tenant: str) -> None:
    await client.execute("XDEL", keys.audit_chain(tenant), (await stream(client, tenant))[-1][0])


async def _cut_tail_and_head(client: RedisClient, tenant: str) -> None:
    events = await stream(client, tenant)
    await client.execute("XDEL", keys.audit_chain(tenant), events[-1][0])
    head = f"4:{events[-2][1]['event_hash']}:" + "0" * 64
    await client.execute("SET", keys.audit_head(tenant), head)


async def _drop_head(client: RedisClient, tenant: str) -> None:
    await client.execute("DEL", keys.audit_head(tenant))


async def _new_chain_without_key(client: RedisClient, tenant: str) -> None:
    events = [fields for _, fields in await stream(client, tenant)]
    for name in ("hmac", "key_id", "event_hash"):
        events[4].pop(name)
    events[4]["identity"] = "mallory"
    forger = AuditChain(client)
    linked = forger._linked(
        {k: v for k, v in events[4].items() if k not in {"seq", "prev_hash"}}, 5, events[3]["event_hash"]
    )
    await rewrite(client, tenant, [*events[:4], linked])
    await client.execute("SET", keys.audit_head(tenant), forger._head(tenant, 5, linked["event_hash"]))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_edit, {"hash_mismatch"}),
        (_remove, {"missing"}),
        (_remove_first, {"missing"}),
        (_swap, {"missing", "out_of_order", "hash_mismatch"}),
        (_cut_tail, {"head_mismatch"}),
        (_cut_tail_and_head, {"head_mismatch"}),
        (_drop_head, {"head_mismatch"}),
        (_new_chain_without_key, {"hmac_mismatch", "head_mismatch"}),
    ],
)
async def test_every_kind_of_tampering_shows(
    redis_client: RedisClient, tenant: str, damage: Damage, expected: set[str]
) -> None:
    chain = await filled(redis_client, tenant)
    assert (await verify_chain(chain, tenant)).status == "ok"
    await damage(redis_client, tenant)
    report = await verify_chain(chain, tenant)
    assert report.status == "compromised"
    assert {gap["type"] for gap in report.gaps} <= expected
    assert report.gaps


async def test_a_rotated_key_still_verifies_and_an_unknown_one_is_counted(
    redis_client: RedisClient, tenant: str
) -> None:
    await filled(redis_client, tenant)
    rotated = AuditChain(redis_client, ChainKeys(bytes(range(1, 33)), "k2", {"k1": KEY.key}))
    await rotated.append(event(tenant))
    report = await verify_chain(rotated, tenant)
    assert (report.status, report.hmac_verified) == ("ok", 6)
    without = await verify_chain(AuditChain(redis_client), tenant)
    assert (without.status, without.hmac_verified, without.hmac_skipped) == ("ok", 0, 6)


async def test_a_limit_makes_the_verdict_partial(redis_client: RedisClient, tenant: str) -> None:
    chain = await filled(redis_client, tenant)
    report = await verify_chain(chain, tenant, limit=3)
    assert (report.status, report.total_events, report.gaps) == ("partial", 3, [])


async def test_nothing_is_appended_to_a_damaged_head(redis_client: RedisClient, tenant: str) -> None:
    chain = await filled(redis_client, tenant)
    await redis_client.execute("SET", keys.audit_head(tenant), "five:things")
    with pytest.raises(CordumError) as refused:
        await chain.append(event(tenant))
    assert refused.value.code == "audit_unavailable"
    assert len(await stream(redis_client, tenant)) == 5


async def test_an_event_holds_no_secret_and_has_a_bounded_size(
    redis_client: RedisClient, tenant: str
) -> None:
    chain = AuditChain(redis_client)
    extra = {"api_key": "x", "auth_token": "x", "größe": "x", "long": "é" * 5_000, "ok": "y\ud800"}
    await chain.append(event(tenant, extra=extra, reason="r" * 50_000))
    stored = (await stream(redis_client, tenant))[0][1]
    assert set(stored["extra"]) == {"long", "ok"}
    assert len(stored["extra"]["long"].encode()) <= 4_096
    assert len(stored["reason"]) == 16 * 1024
    assert "identity" not in stored
    assert (await verify_chain(chain, tenant)).status == "ok"
