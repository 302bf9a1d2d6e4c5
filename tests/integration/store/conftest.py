"""Job store on an empty deployment, and a reader of everything a job left there."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cordum.config.redis import StoreSettings
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore

NOW = 1_772_358_600_123_456

Keys = Callable[[], Awaitable[dict[str, Any]]]


@pytest.fixture
async def jobs(redis_client: RedisClient) -> JobStore:
    """Job store with small limits."""
    settings = StoreSettings(partitions=4, job_recent_max=40, dlq_max_size=12)
    return await JobStore.open(redis_client, settings)


async def members(client: RedisClient, key: str) -> dict[str, int]:
    """Return a zset as member to score."""
    flat = await client.execute("ZRANGE", key, 0, -1, "WITHSCORES")
    return {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)}


async def key_names(client: RedisClient) -> set[str]:
    """Return every key of the deployment."""
    return {key.decode() for found in await client.execute_on_primaries("KEYS", "*") for key in found}
