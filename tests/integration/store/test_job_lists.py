"""Lists, layout and the sets of tenants, traces and workers."""

from collections import Counter

import pytest

from cordum.config.redis import StoreSettings
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.job_list import JobQuery, list_jobs
from cordum.store.job_sets import (
    claim_idempotency,
    recent_commands,
    release_commands,
    reserve_tenant_slots,
    tenant_commands,
    trace_commands,
    worker_job_commands,
)
from cordum.store.jobs import JobStore
from cordum.store.schedule import drop_strays, lease_due, make_due, overdue, parked_counts, wake_pool
from tests.integration.store.conftest import NOW, members


async def fill(jobs: JobStore, count: int, *, same_score: int = 1) -> list[str]:
    """Create jobs n0.. of two tenants; each group of `same_score` jobs shares its time. Newest first."""
    ids = [f"n{n}" for n in range(count)]
    for n, job_id in enumerate(ids):
        now = NOW + n // same_score
        tenant, topic = ("acme", "job.a") if n % 2 else ("globex", "job.b")
        state = "DENIED" if n % 5 == 0 else "PENDING"
        fields = {"tenant": tenant, "topic": topic, "trace_id": f"t{n % 3}"}
        await jobs.change("job_create", {"id": job_id, "from": [""], "to": state, "set": fields}, now_us=now)
        commands = recent_commands([(tenant, job_id, now)], recent_max=100)
        await jobs.client.pipeline([*commands, *trace_commands([(f"t{n % 3}", job_id)])])
    return ids[::-1]


@pytest.mark.parametrize("same_score", [1, 7])
async def test_a_page_that_looks_at_too_many_records_ends_early_and_loses_none(
    jobs: JobStore, same_score: int
) -> None:
    ids = await fill(jobs, 36, same_score=same_score)
    held = ids[3::10]
    for job_id in held:
        await jobs.client.execute(
            "HSET", keys.job_meta(jobs.tag(job_id), job_id), "approval_status", "pending"
        )
    seen: list[str] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        page, cursor = await list_jobs(jobs, JobQuery(was_held=True, limit=2, looked_at_max=5, cursor=cursor))
        seen += [record["id"] for record in page]
        pages += 1
    assert sorted(seen) == sorted(held)
    assert pages >= 36 // (5 + same_score)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"tenant": "acme"},
        {"state": "DENIED"},
        {"tenant": "acme", "state": "DENIED"},
        {"tenant": "acme", "state": "PENDING"},
        {"topic": "job.b"},
        {"trace_id": "t1"},
        {"trace_id": "t1", "tenant": "globex"},
        {"after_us": NOW + 3, "before_us": NOW + 9},
    ],
)
@pytest.mark.parametrize("same_score", [1, 7])
async def test_pages_together_give_every_matching_job_once_newest_first(
    jobs: JobStore, query: dict[str, object], same_score: int
) -> None:
    await fill(jobs, 36, same_score=same_score)
    whole, end = await list_jobs(jobs, JobQuery(**query, limit=500))  # type: ignore[arg-type]
    assert end is None
    seen: list[str] = []
    cursor: int | None = None
    while True:
        page, cursor = await list_jobs(jobs, JobQuery(**query, limit=4, cursor=cursor))  # type: ignore[arg-type]
        seen += [record["id"] for record in page]
        if cursor is None:
            break
    assert Counter(seen) == Counter(record["id"] for record in whole)
    assert whole
    stamps = [int(record["updated_at"]) for record in whole]
    assert stamps == sorted(stamps, reverse=True)
    for name in ("tenant", "state", "topic", "trace_id"):
        assert all(record[name] == query.get(name, record[name]) for record in whole)


async def test_records_are_read_in_the_order_asked(jobs: JobStore) -> None:
    await fill(jobs, 3)
    found = await jobs.get_many(["n2", "missing", "n0"])
    assert [record and record["id"] for record in found] == ["n2", None, "n0"]


async def test_the_stored_layout_wins_over_the_setting(
    redis_client: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    await JobStore.open(redis_client, StoreSettings(partitions=8))
    store = await JobStore.open(redis_client, StoreSettings(partitions=64))
    assert store.partitions == 8
    assert "SCHEDULER_PARTITIONS" in caplog.text


async def test_tenant_sets_follow_the_last_change_of_a_job(redis_client: RedisClient) -> None:
    changes = [
        ("acme", "a", NOW, True, False),
        ("acme", "b", NOW, True, True),
        ("acme", "b", NOW + 1, False, False),
    ]
    await redis_client.pipeline(tenant_commands(changes))
    assert await members(redis_client, keys.tenant_open("acme")) == {"a": NOW}
    assert await members(redis_client, keys.tenant_active("acme")) == {}


async def test_the_list_of_a_tenant_follows_the_newest_change_of_each_job(redis_client: RedisClient) -> None:
    changes = [("acme", "a", NOW + 1), ("acme", "a", NOW), ("acme", "b", NOW), ("acme", "c", NOW - 1)]
    await redis_client.pipeline(recent_commands(changes, recent_max=2))
    await redis_client.pipeline(recent_commands([("acme", "a", NOW)], recent_max=2))
    assert await members(redis_client, keys.tenant_recent("acme")) == {"a": NOW + 1, "b": NOW}


async def test_a_moved_job_is_listed_as_of_its_change(jobs: JobStore) -> None:
    await fill(jobs, 2)
    change = {"id": "n1", "from": ["PENDING"], "to": "CANCELLED"}
    await jobs.move(change, now_us=NOW + 9)
    assert await members(jobs.client, keys.tenant_recent("acme")) == {"n1": NOW + 9}


async def test_a_tenant_never_holds_more_slots_than_its_limit(redis_client: RedisClient) -> None:
    async def reserve(limit: int, *ids: str) -> set[str]:
        return await reserve_tenant_slots(redis_client, [("acme", limit, ids)], NOW)

    assert await reserve(2, "a", "b", "c") == {"a", "b"}
    assert await reserve(2, "b", "c") == {"b"}
    slots = [("acme", "a", NOW), ("acme", "zzz", NOW)]
    assert await redis_client.pipeline(release_commands(slots)) == [1]
    assert await reserve(2, "c", "d") == {"c"}
    assert await reserve(-1, "d") == {"d"}


async def test_slots_of_many_tenants_are_reserved_in_one_step(redis_client: RedisClient) -> None:
    wanted = [("acme", 1, ["a"]), ("acme", 2, ["b", "c"]), ("globex", 1, ["x", "y"])]
    assert await reserve_tenant_slots(redis_client, wanted, NOW) == {"a", "b", "x"}


async def test_an_idempotency_key_names_the_first_job(redis_client: RedisClient) -> None:
    assert await claim_idempotency(redis_client, "acme", "k", "j1", 60) == "j1"
    assert await claim_idempotency(redis_client, "acme", "k", "j2", 60) == "j1"
    assert await claim_idempotency(redis_client, "globex", "k", "j3", 60) == "j3"


async def test_a_worker_keeps_its_newest_thousand_jobs(redis_client: RedisClient) -> None:
    await redis_client.pipeline(worker_job_commands([("w", f"j{n}", NOW + n) for n in range(1005)]))
    kept = await members(redis_client, keys.worker_jobs("w"))
    assert len(kept) == 1000
    assert "j4" not in kept
    assert await redis_client.execute("TTL", keys.worker_jobs("w")) > 0


async def test_a_due_job_is_leased_to_one_caller_until_the_lease_ends(jobs: JobStore) -> None:
    for n in range(6):
        park = {"id": f"p{n}", "from": [""], "to": "PENDING", "retry": NOW + n, "wait": ["gpu"]}
        await jobs.change("job_create", park, now_us=NOW)
    everywhere = range(jobs.partitions)
    taken = await lease_due(jobs, everywhere, now_us=NOW + 2, limit=10, lease_us=100)
    assert sorted(taken) == ["p0", "p1", "p2"]
    assert await lease_due(jobs, everywhere, now_us=NOW + 2, limit=10) == []
    assert len(await lease_due(jobs, everywhere, now_us=NOW + 102, limit=10)) == 6


async def test_a_stray_entry_of_a_job_that_waits_again_stays(jobs: JobStore) -> None:
    await jobs.change("job_create", {"id": "again", "from": [""], "to": "RETRYING", "retry": NOW}, now_us=NOW)
    await jobs.change("job_create", {"id": "ended", "from": [""], "to": "CANCELLED"}, now_us=NOW)
    await make_due(jobs, ["ended", "absent"], at_us=NOW)
    await drop_strays(jobs, ["again", "ended", "absent"])
    assert await overdue(jobs, keys.job_retry, before_us=NOW, limit=10) == ["again"]


async def test_jobs_waiting_for_a_pool_become_due_when_it_wakes(jobs: JobStore) -> None:
    park = {"id": "p", "from": [""], "to": "PENDING", "retry": NOW + 10**9, "wait": ["gpu"]}
    await jobs.change("job_create", park, now_us=NOW)
    assert await wake_pool(jobs, "cpu", now_us=NOW, limit=10) == ([], None)
    assert await wake_pool(jobs, "gpu", now_us=NOW, limit=10, lease_us=100) == (["p"], NOW)
    assert await overdue(jobs, keys.job_retry, before_us=NOW + 99, limit=5) == []
    assert await overdue(jobs, keys.job_retry, before_us=NOW + 100, limit=5) == ["p"]


async def test_a_pool_offers_room_in_the_order_of_places(jobs: JobStore) -> None:
    for number, place in enumerate([30, 10, 20]):
        park = {"id": f"p{number}", "from": [""], "to": "PENDING", "retry": NOW + 10**9}
        park |= {"wait": ["gpu", "cpu"], "wait_at": [str(NOW + place), str(NOW + 99)]}
        await jobs.change("job_create", park, now_us=NOW)
    assert await wake_pool(jobs, "gpu", now_us=NOW, limit=2) == (["p1", "p2"], NOW + 10)
    again = {"id": "p1", "from": ["PENDING"], "to": "PENDING", "retry": NOW + 5, "wait": ["gpu", "cpu"]}
    await jobs.move(again, now_us=NOW + 1)
    tag = jobs.tag("p1")
    assert (await members(jobs.client, keys.job_wait(tag, "gpu")))["p1"] == NOW + 10, "it keeps its place"
    await jobs.move(again | {"wait": ["cpu"], "wait_at": [str(NOW + 7)]}, now_us=NOW + 2)
    assert "p1" not in await members(jobs.client, keys.job_wait(tag, "gpu"))
    assert (await members(jobs.client, keys.job_wait(tag, "cpu")))["p1"] == NOW + 7


async def test_parked_jobs_are_counted_by_cause(jobs: JobStore) -> None:
    def park(job_id: str, cause: str) -> dict[str, object]:
        return {
            "id": job_id,
            "from": ["", "PENDING"],
            "to": "PENDING",
            "retry": NOW + 9,
            "set": {"last_cause": cause},
        }

    for job_id in ("a", "b", "c"):
        await jobs.change("sched_commit", park(job_id, "no_workers"), now_us=NOW)
    await jobs.change("sched_commit", park("a", "throttle"), now_us=NOW)
    await jobs.change("sched_commit", park("a", "throttle"), now_us=NOW)
    await jobs.move({"id": "b", "from": ["PENDING"], "to": "CANCELLED"}, now_us=NOW)
    await jobs.move({"id": "d", "from": [""], "to": "RETRYING", "retry": NOW + 1}, now_us=NOW)
    assert await parked_counts(jobs) == {"no_workers": 1, "throttle": 1, "retrying": 1}


async def test_a_job_made_due_by_a_sweep_leaves_no_entry_behind(jobs: JobStore) -> None:
    await jobs.change("job_create", {"id": "o", "from": [""], "to": "PENDING"}, now_us=NOW)
    await make_due(jobs, ["o", "gone"], at_us=NOW)
    assert sorted(await overdue(jobs, keys.job_retry, before_us=NOW, limit=5)) == ["gone", "o"]
    await jobs.move({"id": "o", "from": ["PENDING"], "to": "DISPATCHED", "retry": 0}, now_us=NOW)
    await drop_strays(jobs, ["gone"])
    assert await overdue(jobs, keys.job_retry, before_us=NOW, limit=5) == []
    assert await parked_counts(jobs) == {}


async def test_a_confirmed_dispatch_is_no_longer_overdue(jobs: JobStore) -> None:
    for job_id in ("a", "b"):
        change = {"id": job_id, "from": [""], "to": "DISPATCHED", "disp": NOW, "set": {"dispatch_id": "d"}}
        await jobs.change("sched_commit", change, now_us=NOW)
    await jobs.confirm_dispatch([("a", "d")])
    assert await overdue(jobs, keys.job_disp, before_us=NOW + 1, limit=5) == ["b"]


async def test_a_late_confirmation_leaves_the_next_dispatch_of_its_job_unconfirmed(jobs: JobStore) -> None:
    change = {"id": "a", "from": [""], "to": "DISPATCHED", "disp": NOW, "set": {"dispatch_id": "second"}}
    await jobs.change("sched_commit", change, now_us=NOW)
    await jobs.confirm_dispatch([("a", "first")])
    assert await overdue(jobs, keys.job_disp, before_us=NOW + 1, limit=5) == ["a"]


async def test_every_tenant_with_a_set_is_listed_for_its_repair(
    jobs: JobStore, redis_client: RedisClient
) -> None:
    await reserve_tenant_slots(redis_client, [("reserved", 1, ["a"])], NOW)
    await redis_client.pipeline(tenant_commands([("created", "b", NOW, True, False)]))
    assert {b"reserved", b"created"} <= set(await redis_client.execute("SMEMBERS", keys.TENANTS))
