"""The decision log: what is appended comes back newest first, and stays within its bounds."""

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.decision_log import DecisionLog, append_command

DAY_S = 86_400


async def append(client: RedisClient, data: bytes, tenant: str = "acme", **limits: int) -> list[bytes | int]:
    """Append one segment under generous limits, unless others are given."""
    bounds = {"now_ms": 1_000_000, "ttl_s": DAY_S, "max_bytes": 1 << 20, **limits}
    reply: list[bytes | int] = await client.execute(*append_command(tenant, data, 1, **bounds))
    return reply


async def stored(client: RedisClient, tenant: str = "acme", **bounds: int) -> list[bytes]:
    """Read the whole log."""
    return [
        segment.data
        async for chunk in DecisionLog(client).newest_first(tenant, **bounds)  # type: ignore[arg-type]
        for segment in chunk
    ]


async def test_segments_come_back_newest_first_across_chunks(redis_client: RedisClient) -> None:
    written = [f"segment {number}".encode() for number in range(100)]
    for data in written:
        await append(redis_client, data)
    await append(redis_client, b"foreign", tenant="other")
    assert await stored(redis_client) == written[::-1]


async def test_a_page_starts_at_the_segment_where_the_last_one_ended(redis_client: RedisClient) -> None:
    for number in range(5):
        await append(redis_client, str(number).encode())
    log = DecisionLog(redis_client)
    segments = [segment async for chunk in log.newest_first("acme") for segment in chunk]
    rest = [s.data async for chunk in log.newest_first("acme", last_id=segments[2].id) for s in chunk]
    assert rest == [b"2", b"1", b"0"]


async def test_too_many_bytes_push_the_oldest_out(redis_client: RedisClient) -> None:
    for number in range(10):
        await append(redis_client, b"x" * 99 + str(number).encode(), max_bytes=350)
    assert [data[-1:] for data in await stored(redis_client)] == [b"9", b"8", b"7"]
    assert await redis_client.execute("GET", keys.decision_log_size("acme")) == b"300"


async def test_segments_older_than_the_retention_go(redis_client: RedisClient) -> None:
    await append(redis_client, b"old")
    server_s, _ = await redis_client.execute("TIME") if not redis_client.is_cluster else (b"0", b"0")
    now_ms = (int(server_s) or 4_000_000_000) * 1_000 + 2 * DAY_S * 1_000
    await append(redis_client, b"new", now_ms=now_ms)
    assert await stored(redis_client) == [b"new"]


async def test_a_single_segment_above_the_limit_is_kept(redis_client: RedisClient) -> None:
    await append(redis_client, b"y" * 500, max_bytes=100)
    assert len(await stored(redis_client)) == 1


async def test_the_log_has_a_time_to_live(redis_client: RedisClient) -> None:
    await append(redis_client, b"z")
    for key in (keys.decision_log("acme"), keys.decision_log_size("acme")):
        assert 0 < int(await redis_client.execute("TTL", key)) <= DAY_S
