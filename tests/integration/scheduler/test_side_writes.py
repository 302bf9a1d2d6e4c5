"""When side writes go out (scheduler spec §13, §31.2)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cordum.config.redis import StoreSettings
from cordum.scheduler import side_writes
from cordum.scheduler.side_writes import SideWrites
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.support.processes import wait_until


@pytest.fixture
async def jobs(redis_client: RedisClient) -> JobStore:
    return await JobStore.open(redis_client, StoreSettings(partitions=4))


@pytest.fixture
async def side(jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SideWrites]:
    """Side writes that would wait an hour for company."""
    monkeypatch.setattr(side_writes, "_FLUSH_S", 3_600.0)
    side = SideWrites(jobs, BlobStore(jobs.client, 3_600))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(side.run())
        yield side
        running.cancel()


async def test_a_dead_letter_is_listed_at_once(jobs: JobStore, side: SideWrites) -> None:
    async def letters() -> list[str]:
        return [m.decode() for m in await jobs.client.execute("ZRANGE", keys.dlq_tenant("acme"), 0, -1)]

    async def both() -> bool:
        return await letters() == ["j-1", "j-2"]

    side.trace("t-1", "j-1")
    side.dead_letters([("acme", "j-1")])
    await wait_until(letters)
    side.dead_letters([("acme", "j-2")])
    await wait_until(both)


async def test_other_side_writes_wait_for_the_next_commit(side: SideWrites) -> None:
    side.dead_letters([])
    side.trace("t-1", "j-1")
    await asyncio.sleep(0)
    assert keys.trace("t-1") in [command[1] for command in side.take()]
