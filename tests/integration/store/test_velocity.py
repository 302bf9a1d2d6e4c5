"""Velocity counters on real servers, standalone and cluster (policy spec §13.1)."""

import asyncio
from pathlib import Path

import pytest

from cordum.config.redis import RedisSettings
from cordum.domain.errors import Unavailable
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.velocity import BUCKETS_MAX, VelocityCheck, VelocityCounters
from tests.integration.store.conftest import members
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer

HOUR_US = 3_600_000_000
NOW = 500_000 * HOUR_US


def check(member: str, limit: int = 10, window_s: int = 60, bucket: str = "r1:acme") -> VelocityCheck:
    return VelocityCheck(bucket, member, limit, window_s)


async def redis_now_us(client: RedisClient) -> int:
    seconds, micros = (await client.execute_on_primaries("TIME"))[0]
    return int(seconds) * 1_000_000 + int(micros)


async def test_of_fifty_concurrent_jobs_exactly_the_limit_passes(redis_client: RedisClient) -> None:
    replicas = [VelocityCounters(redis_client), VelocityCounters(redis_client)]
    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(replicas[n % 2].count([check(f"job-{n}")], record=True, now_us=NOW))
            for n in range(50)
        ]

    counts = [call.result()[0] for call in calls]
    assert sum(1 for count in counts if count is not None and count <= 10) == 10


async def test_the_same_job_counts_once_and_requests_without_a_job_count_each(
    redis_client: RedisClient,
) -> None:
    counters = VelocityCounters(redis_client)
    same = await counters.count([check("a")] * 3, record=True, now_us=NOW)
    other = await counters.count([check("b"), check("a")], record=True, now_us=NOW)
    nameless = await counters.count([check("")] * 2, record=True, now_us=NOW)

    assert (same, other, nameless) == ([1, 1, 1], [2, 2], [3, 4])


async def test_reading_counts_as_if_added_and_leaves_nothing(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    await counters.count([check("a")], record=True, now_us=NOW)
    before = await members_raw(redis_client, "r1:acme")
    read = await counters.count([check("a"), check("b"), check("")], record=False, now_us=NOW)

    assert read == [1, 2, 2]
    assert await members_raw(redis_client, "r1:acme") == before
    assert await counters.count([check("x", bucket="r2:new")], record=False, now_us=NOW) == [1]
    assert await redis_client.execute("EXISTS", keys.velocity("r2:new")) == 0


async def members_raw(client: RedisClient, bucket: str) -> list[bytes]:
    found: list[bytes] = await client.execute("ZRANGE", keys.velocity(bucket), 0, -1, "WITHSCORES")
    return found


async def test_buckets_are_independent_in_one_round_trip_over_all_nodes(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    checks = [check("j", bucket=f"r{n}:t{n}") for n in range(100)]
    assert await counters.count(checks, record=True, now_us=NOW) == [1] * 100
    assert await counters.count([check("k", bucket="r7:t7")], record=True, now_us=NOW) == [2]


async def test_what_left_the_window_no_longer_counts(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    now_s = await redis_now_us(redis_client) / 1e6
    key = keys.velocity("r1:acme")
    await redis_client.execute("ZADD", key, f"{now_s - 61:.3f}", "gone", f"{now_s - 30:.3f}", "here")

    assert await counters.count([check("new"), check("gone")], record=False, now_us=NOW) == [2, 2]
    assert await counters.count([check("new")], record=True, now_us=NOW) == [2]
    assert {"here", "new"} == {m.decode() for m in await redis_client.execute("ZRANGE", key, 0, -1)}
    assert 60 < int(await redis_client.execute("TTL", key)) <= 120


async def test_a_job_that_asks_again_keeps_its_place_so_a_full_window_empties(
    redis_client: RedisClient,
) -> None:
    counters = VelocityCounters(redis_client)
    now_s = await redis_now_us(redis_client) / 1e6
    key = keys.velocity("r1:acme")
    await redis_client.execute("ZADD", key, f"{now_s - 59:.3f}", "waiting")
    await counters.count([check("waiting")], record=True, now_us=NOW)

    assert float(await redis_client.execute("ZSCORE", key, "waiting")) == pytest.approx(now_s - 59, abs=0.01)


async def test_memory_is_bounded_while_everything_is_refused(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    counts = await counters.count([check(f"j{n}", limit=2) for n in range(40)], record=True, now_us=NOW)

    assert counts[-1] == 10
    assert await redis_client.execute("ZCARD", keys.velocity("r1:acme")) == 9


async def test_statistics_tell_hits_buckets_and_the_last_hit(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    now = await redis_now_us(redis_client)
    old = now - 3 * HOUR_US
    await counters.count(
        [check(f"o{n}", limit=1, bucket="r1:old") for n in range(2)], record=True, now_us=old
    )
    await counters.count([check(f"j{n}", limit=1) for n in range(3)], record=True, now_us=now)
    await counters.count([check("k", limit=1, bucket="r1:other")], record=True, now_us=now)
    await counters.flush()
    stat = await counters.statistics("r1", max_requests=1, window_s=60, now_us=now)

    assert (stat["hit_count_24h"], stat["hourly_hits"][-1], stat["hourly_hits"][-4]) == (3, 2, 1)
    assert stat["hit_rate_24h"] == pytest.approx(3 / 24)
    assert (stat["current_window_count"], stat["current_window_max"]) == (4, 3)
    assert (stat["active_buckets"], stat["exceeded_buckets"]) == (2, 1)
    assert stat["last_triggered_us"] == now


async def test_statistics_of_a_rule_that_never_counted_are_zero(redis_client: RedisClient) -> None:
    stat = await VelocityCounters(redis_client).statistics("r9", max_requests=1, window_s=60, now_us=NOW)
    assert (stat["hit_count_24h"], stat["active_buckets"], sum(stat["hourly_hits"])) == (0, 0, 0)
    assert "last_triggered_us" not in stat


async def test_hours_older_than_a_day_leave_the_statistics(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    for ago in (30, 0):
        checks = [check(f"j{ago}-{n}", limit=1, bucket=f"r1:b{ago}") for n in range(2)]
        await counters.count(checks, record=True, now_us=NOW - ago * HOUR_US)
        await counters.flush()
    fields = await redis_client.execute("HKEYS", keys.velocity_hits("r1"))
    assert {name.decode() for name in fields} == {"500000", "last"}


async def test_the_index_of_a_rule_keeps_the_newest_buckets_only(redis_client: RedisClient) -> None:
    counters = VelocityCounters(redis_client)
    for start in (0, BUCKETS_MAX):
        checks = [check("j", bucket=f"r1:b{start + n}") for n in range(BUCKETS_MAX)]
        await counters.count(checks, record=True, now_us=NOW + start * 1_000_000)
        await counters.flush()
    kept = await members(redis_client, keys.velocity_index("r1"))
    assert len(kept) == BUCKETS_MAX
    assert f"b{BUCKETS_MAX}" in kept


async def test_without_redis_there_is_no_number_and_it_returns_with_the_server(tmp_path: Path) -> None:
    server = RedisServer(tmp_path).start()
    client = await RedisClient.open(RedisSettings(url=server.url))
    counters = VelocityCounters(client)
    try:
        assert await counters.count([check("a")], record=True, now_us=NOW) == [1]
        server.kill()
        assert await counters.count([check("a"), check("b")], record=True, now_us=NOW) == [None, None]
        with pytest.raises(Unavailable):
            await counters.statistics("r1", max_requests=1, window_s=60, now_us=NOW)
        server.start()

        async def counts_again() -> bool:
            return await counters.count([check("a")], record=True, now_us=NOW) == [1]

        await wait_until(counts_again)
    finally:
        await client.close()
        server.stop()


async def test_a_server_that_hangs_costs_no_more_than_the_time_limit(standalone_client: RedisClient) -> None:
    counters = VelocityCounters(standalone_client, timeout_s=0.05)
    await standalone_client.execute("CLIENT", "PAUSE", 300)
    assert await counters.count([check("a")], record=True, now_us=NOW) == [None]
    await standalone_client.execute("PING")


async def test_a_damaged_key_fails_alone(redis_client: RedisClient) -> None:
    await redis_client.execute("SET", keys.velocity("r1:bad"), "text")
    answers = await VelocityCounters(redis_client).count(
        [check("a", bucket="r1:bad"), check("a")], record=True, now_us=NOW
    )
    assert answers == [None, 1]
