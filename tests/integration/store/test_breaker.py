"""The shared circuit breaker on real servers, standalone and cluster (policy spec §15.2)."""

from pathlib import Path

import pytest

from cordum.config.redis import RedisSettings
from cordum.store import keys
from cordum.store.breaker import BreakerState, CircuitBreaker, Grant
from cordum.store.connection import RedisClient
from tests.support.redis_servers import RedisServer

FAILURES, TRIPPED, PROBES = (keys.BREAKER_SAFETY + name for name in ("failures", "tripped", "probes"))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker_of(client: RedisClient, clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(client, keys.BREAKER_SAFETY, clock)


async def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        grant = await breaker.admit()
        assert grant is Grant.CALL
        await breaker.report(grant, False)


async def tripped(client: RedisClient, clock: Clock) -> CircuitBreaker:
    breaker = breaker_of(client, clock)
    await fail(breaker, 3)
    return breaker


async def test_three_failures_of_any_replicas_open_it_for_all(
    redis_client: RedisClient, clock: Clock
) -> None:
    one, two = breaker_of(redis_client, clock), breaker_of(redis_client, clock)
    await fail(one, 2)
    await fail(two, 1)
    clock.now_s += 1
    assert await one.admit() is None
    assert await two.admit() is None
    assert 0 < await redis_client.execute("TTL", FAILURES) <= 30
    assert 30 < await redis_client.execute("TTL", TRIPPED) <= 600


async def test_a_success_forgets_the_failures_before(redis_client: RedisClient, clock: Clock) -> None:
    breaker = breaker_of(redis_client, clock)
    await fail(breaker, 2)
    await breaker.report(Grant.CALL, True)
    await fail(breaker, 2)
    assert breaker.state is BreakerState.CLOSED


async def test_a_call_that_says_nothing_of_the_kernel_changes_nothing(
    redis_client: RedisClient, clock: Clock
) -> None:
    breaker = breaker_of(redis_client, clock)
    await fail(breaker, 2)
    await breaker.report(Grant.CALL, None)
    assert await redis_client.execute("GET", FAILURES) == b"2"


async def test_the_expiry_of_the_counter_lets_only_probes_pass(
    redis_client: RedisClient, clock: Clock
) -> None:
    await tripped(redis_client, clock)
    await redis_client.execute("DEL", FAILURES)  # as its expiry does
    replicas = [breaker_of(redis_client, clock) for _ in range(4)]
    grants = [await replica.admit() for replica in replicas]
    assert grants == [Grant.PROBE] * 3 + [None]
    assert 0 < await redis_client.execute("TTL", PROBES) <= 3


async def test_two_successful_probes_close_it(redis_client: RedisClient, clock: Clock) -> None:
    breaker = await tripped(redis_client, clock)
    await breaker.half_open()
    assert await breaker.admit() is Grant.PROBE
    await breaker.report(Grant.PROBE, True)
    assert breaker.state is BreakerState.HALF_OPEN
    assert await breaker.admit() is Grant.PROBE
    await breaker.report(Grant.PROBE, True)
    other = breaker_of(redis_client, clock)
    assert await other.admit() is Grant.CALL
    assert await redis_client.execute("EXISTS", PROBES) == 0


async def test_one_failed_probe_opens_it_again_and_voids_successes(
    redis_client: RedisClient, clock: Clock
) -> None:
    breaker = await tripped(redis_client, clock)
    await breaker.half_open()
    for outcome in (True, False):
        assert await breaker.admit() is Grant.PROBE
        await breaker.report(Grant.PROBE, outcome)
    assert await breaker.admit() is None
    await breaker.half_open()
    assert await breaker.admit() is Grant.PROBE
    await breaker.report(Grant.PROBE, True)
    assert breaker.state is BreakerState.HALF_OPEN


async def test_a_probe_that_ends_makes_room_for_the_next(redis_client: RedisClient, clock: Clock) -> None:
    breaker = await tripped(redis_client, clock)
    await breaker.half_open()
    for _ in range(9):
        assert await breaker.admit() is Grant.PROBE
        await breaker.report(Grant.PROBE, None)


async def test_the_state_is_read_at_most_every_200_ms(redis_client: RedisClient, clock: Clock) -> None:
    idle = breaker_of(redis_client, clock)
    assert await idle.admit() is Grant.CALL
    await tripped(redis_client, clock)
    clock.now_s += 0.1
    assert await idle.admit() is Grant.CALL
    clock.now_s += 0.2
    assert await idle.admit() is None


async def test_an_operator_may_reset_it_and_a_damaged_counter_keeps_it_open(
    redis_client: RedisClient, clock: Clock
) -> None:
    await tripped(redis_client, clock)
    await redis_client.execute("SET", FAILURES, "garbage")
    assert await breaker_of(redis_client, clock).admit() is None
    await redis_client.execute("DEL", FAILURES)
    assert await breaker_of(redis_client, clock).admit() is Grant.PROBE


async def test_without_redis_a_process_counts_for_itself_with_the_same_numbers(
    tmp_path: Path, clock: Clock
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    client = await RedisClient.open(RedisSettings(url=f"{server.url}/0"))
    try:
        breaker = breaker_of(client, clock)
        server.kill()
        await fail(breaker, 3)
        assert await breaker.admit() is None
        clock.now_s += 29
        assert await breaker.admit() is None
        clock.now_s += 2
        for _ in range(2):
            assert await breaker.admit() is Grant.PROBE
            await breaker.report(Grant.PROBE, True)
        assert await breaker.admit() is Grant.CALL
    finally:
        await client.close()
        server.stop()
