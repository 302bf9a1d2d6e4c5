"""Dead letters, locks, blobs, configuration documents, worker snapshot, instances, breaker counter."""

import asyncio

import pytest

from cordum.domain.errors import Conflict, CordumError, InvalidInput, TooLarge
from cordum.store import keys
from cordum.store.blobs import BlobStore, key_of_pointer, result_key
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore, dead_letter_commands
from cordum.store.instances import Instances
from cordum.store.jobs import JobStore
from cordum.store.locks import LeaderLock, Lock
from cordum.store.scripts import script
from cordum.store.worker_snapshot import WorkerSnapshots
from tests.integration.store.conftest import NOW, members

AT = "2026-03-01T09:50:00Z"


async def _bury(jobs: JobStore, count: int) -> None:
    for n in range(count):
        tenant = "acme" if n % 2 else "globex"
        now = NOW + n * 500_000
        change = {"id": f"d{n}", "from": [""], "to": "DENIED", "set": {"tenant": tenant}}
        await jobs.change(
            "job_create", change | {"dlq": {"status": "JOB_STATUS_DENIED", "reason": "no"}}, now_us=now
        )
        await jobs.client.pipeline(dead_letter_commands([(tenant, f"d{n}", now)], max_size=100))


@pytest.mark.parametrize(("tenant", "expected"), [(None, 8), ("acme", 4), ("nobody", 0)])
async def test_dead_letters_are_paged_newest_first(jobs: JobStore, tenant: str | None, expected: int) -> None:
    await _bury(jobs, 8)
    store = DeadLetterStore(jobs)
    seen: list[str] = []
    cursor: int | None = None
    while True:
        page, cursor = await store.page(tenant, limit=2, cursor=cursor)
        seen += [entry["job_id"] for entry in page]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == expected


async def test_a_deleted_dead_letter_is_gone_from_every_list(jobs: JobStore) -> None:
    await _bury(jobs, 2)
    store = DeadLetterStore(jobs)
    assert await store.delete("d1")
    assert not await store.delete("d1")
    assert await store.get("d1") is None
    assert (await store.page("acme"))[0] == []
    assert [entry["job_id"] for entry in (await store.page(None))[0]] == ["d0"]


async def test_an_expired_dead_letter_leaves_the_index_when_it_is_read(jobs: JobStore) -> None:
    await _bury(jobs, 2)
    tag = jobs.tag("d1")
    await jobs.client.execute("DEL", keys.dlq_entry(tag, "d1"))
    assert (await DeadLetterStore(jobs).page("acme"))[0] == []
    assert "d1" not in await members(jobs.client, keys.dlq_index(tag))
    assert await members(jobs.client, keys.dlq_tenant("acme")) == {}


async def test_only_the_holder_renews_and_releases_a_lock(redis_client: RedisClient) -> None:
    mine, other = Lock(redis_client, "lock", 30), Lock(redis_client, "lock", 30)
    assert await mine.acquire()
    assert not await other.acquire()
    assert not await other.renew()
    assert not await other.release()
    assert await mine.renew()
    assert await mine.release()
    assert await other.acquire()


async def test_a_leader_leads_again_on_every_tick(redis_client: RedisClient) -> None:
    first, second = (LeaderLock(redis_client, "lead", lambda: 30) for _ in range(2))
    assert [await first.try_lead(), await second.try_lead(), await first.try_lead()] == [True, False, True]
    await first.resign()
    assert await second.try_lead()
    assert not await first.renew()


async def test_a_leader_renews_while_it_works(redis_client: RedisClient) -> None:
    leader = LeaderLock(redis_client, "lead", lambda: 0.3)
    other = LeaderLock(redis_client, "lead", lambda: 0.3)
    assert await leader.try_lead()

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(0.08)
            assert not await other.try_lead()

    await leader.lead(work)
    assert await leader.renew()


async def test_a_leader_that_cannot_renew_stops_working(redis_client: RedisClient) -> None:
    leader = LeaderLock(redis_client, "lead", lambda: 0.3)
    assert await leader.try_lead()
    await redis_client.execute("SET", "lead", "somebody else")
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await leader.lead(work)
    assert started.is_set()


async def test_a_leader_takes_over_the_interval_of_the_configuration(redis_client: RedisClient) -> None:
    ttl_s = 30.0
    leader = LeaderLock(redis_client, "lead", lambda: ttl_s)
    assert await leader.try_lead()
    ttl_s = 90.0
    assert await leader.try_lead()
    assert await redis_client.execute("PTTL", "lead") > 60_000


async def test_a_placeholder_never_replaces_the_output_of_a_worker(redis_client: RedisClient) -> None:
    blobs = BlobStore(redis_client, 60)
    assert await blobs.set_context("j", b"{}") == "redis://ctx:j"
    await redis_client.execute("SET", "res:j", b"worker")
    assert not await blobs.set_result("j", b"stub", only_if_absent=True)
    await blobs.keep(["res:j"])
    assert await blobs.get_many(["ctx:j", "res:j", "res:none"]) == [b"{}", b"worker", None]
    assert 0 < await redis_client.execute("TTL", "res:j") <= 60


@pytest.mark.parametrize(
    "pointer",
    ["ctx:a", "redis://job:meta:x", "redis://ctx:", "redis://ctx:a\nb", "redis://host:6379/0/ctx:x"],
)
def test_a_pointer_outside_the_payload_keys_is_refused(pointer: str) -> None:
    with pytest.raises(InvalidInput):
        key_of_pointer(pointer)


def test_a_result_pointer_must_name_the_result_of_its_job() -> None:
    assert key_of_pointer("redis://ctx:j-1") == "ctx:j-1"
    assert result_key("redis://res:j-1", "j-1") == "res:j-1"
    assert result_key("redis://res:j-2", "j-1") is None


async def test_a_document_is_written_only_at_the_revision_it_was_read(redis_client: RedisClient) -> None:
    store = ConfigDocuments(redis_client)
    assert await store.get("org", "acme") is None
    first = await store.put("org", "acme", {"a": 1}, expected_revision=0, updated_at=AT, meta={"by": "dana"})
    assert first.revision == 1
    with pytest.raises(Conflict) as conflict:
        await store.put("org", "acme", {"a": 2}, expected_revision=0, updated_at=AT)
    assert conflict.value.details == {"revision": 1}
    assert await store.get("org", "acme") == first
    changed = await store.update("org", "acme", lambda d: d.data | {"b": 2}, updated_at=AT)
    assert (changed.revision, changed.data, changed.meta) == (2, {"a": 1, "b": 2}, {"by": "dana"})
    with pytest.raises(TooLarge):
        await store.put("org", "acme", {"a": "x" * (1 << 20)}, expected_revision=2, updated_at=AT)
    with pytest.raises(InvalidInput):
        await store.get("galaxy", "acme")


async def test_a_damaged_document_is_an_error_and_never_overwritten(redis_client: RedisClient) -> None:
    store = ConfigDocuments(redis_client)
    await redis_client.execute("SET", "cfg:system:default", "[1")
    with pytest.raises(CordumError, match="does not hold"):
        await store.get("system", "default")
    with pytest.raises(Conflict):
        await store.put("system", "default", {}, expected_revision=0, updated_at=AT)


async def test_bootstrap_writes_only_what_is_missing(redis_client: RedisClient) -> None:
    store = ConfigDocuments(redis_client)
    defaults = {"safety": {"enabled": True}}

    async def start(pools: object, pools_hash: str) -> frozenset[str]:
        return await store.bootstrap({"pools": pools}, {"pools": pools_hash}, defaults, updated_at=AT)

    assert await start({"a": 1}, "h1") == frozenset()
    created = await store.get("system", "default")
    assert created is not None
    assert created.data == {"safety": {"enabled": True}, "pools": {"a": 1}, "_poolsFileHash": "h1"}
    assert created.meta == {"source": "auto-bootstrap"}
    assert await start({"a": 1}, "h1") == frozenset()
    assert await start({"a": 2}, "h2") == frozenset({"pools"})
    unchanged = await store.get("system", "default")
    assert unchanged == created
    await store.bootstrap({"timeouts": {}}, {"timeouts": "t1"}, defaults, updated_at=AT)
    added = await store.get("system", "default")
    assert added is not None
    assert added.data == created.data | {"timeouts": {}, "_timeoutsFileHash": "t1"}


async def test_snapshot_and_handshakes_are_read_back(redis_client: RedisClient) -> None:
    store = WorkerSnapshots(redis_client)
    assert await store.load() is None
    await store.save({"workers": [{"worker_id": "w"}]})
    assert await store.load() == {"workers": [{"worker_id": "w"}]}
    await store.save_handshake("w", {"ready_topics": ["job.a"]})
    assert await store.handshakes(["w", "x"]) == {"w": {"ready_topics": ["job.a"]}}
    await redis_client.execute("SET", keys.WORKERS_SNAPSHOT, "damaged")
    assert await store.load() is None


async def test_an_instance_is_alive_until_it_leaves(redis_client: RedisClient) -> None:
    instance = Instances(redis_client, "scheduler", "host-1", {"version": "1"})
    assert not await instance.is_alive("scheduler", "host-1")
    assert await instance.beat(1_000.0) == ["host-1"]
    other = Instances(redis_client, "scheduler", "host-2", {"version": "1"})
    assert await other.beat(1_010.0) == ["host-1", "host-2"]
    assert await other.beat(1_020.0) == ["host-2"], "a process that stopped beating was counted"
    await other.leave()
    assert await instance.is_alive("scheduler", "host-1")
    assert await redis_client.execute("TTL", keys.instance("scheduler", "host-1")) <= 15
    await instance.leave()
    assert not await instance.is_alive("scheduler", "host-1")


async def test_a_breaker_counts_failures_and_restarts_its_expiry_at_the_threshold(
    redis_client: RedisClient,
) -> None:
    fail = script("breaker_fail").command(("cordum:cb:safety:failures",), (30, 3))
    assert await redis_client.execute(*fail) == 1
    await redis_client.execute("EXPIRE", "cordum:cb:safety:failures", 5)
    assert await redis_client.execute(*fail) == 2
    assert await redis_client.execute("TTL", "cordum:cb:safety:failures") <= 5
    assert await redis_client.execute(*fail) == 3
    assert await redis_client.execute("TTL", "cordum:cb:safety:failures") > 5
