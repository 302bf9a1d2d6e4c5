"""Pools over HTTP: what there is, changes, life cycle (gateway spec §19, scheduler spec §18)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from cordum.gateway.drains import is_drained
from cordum.gateway.fleet import Fleet
from cordum.gateway.routing import Routing
from cordum.protocol.cap import BusPacket
from cordum.runtime.clock import now_us, rfc3339
from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.processes import wait_until

Clients = Callable[..., httpx.AsyncClient]
POOLS = {
    "topics": {"job.a": "docs", "job.b": ["docs", "spare"]},
    "pools": {"docs": {"requires": ["gpu"], "description": "d"}, "idle": {"status": "inactive"}},
}


async def put_pools(redis: RedisClient, pools: dict[str, Any] | None = None) -> None:
    document = {"scope": "system", "scope_id": "default", "data": {"pools": pools or POOLS}, "revision": 7}
    await redis.execute("SET", "cfg:system:default", orjson.dumps(document))


async def section(redis: RedisClient) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(await redis.execute("GET", "cfg:system:default"))["data"]["pools"]
    return found


async def put_workers(redis: RedisClient, *workers: dict[str, Any]) -> None:
    entries = [{"active_jobs": 0, "max_parallel_jobs": 4, "age_ms": 10, **worker} for worker in workers]
    snapshot = {"captured_at": rfc3339(), "workers": entries}
    await redis.execute("SET", "sys:workers:snapshot", orjson.dumps(snapshot))


async def test_pools_show_their_workers_topics_and_load(as_person: Clients, redis: RedisClient) -> None:
    await put_pools(redis)
    await put_workers(
        redis,
        {"worker_id": "w2", "pool": "docs", "active_jobs": 1},
        {"worker_id": "w1", "pool": "docs", "active_jobs": 2},
        {"worker_id": "w3", "ready_topics": ["job.b"], "active_jobs": 1},
    )
    vera = as_person("vera")
    items = {item["name"]: item for item in (await vera.get("/pools")).json()["items"]}
    assert list(items) == ["docs", "idle", "spare"]
    assert items["docs"] == {
        "name": "docs",
        "workers": 3,
        "active_jobs": 4,
        "capacity": 12,
        "utilization": 0.3333,
        "status": "active",
        "description": "d",
        "requires": ["gpu"],
    }
    assert (items["spare"]["workers"], items["idle"]["workers"], items["idle"]["utilization"]) == (1, 0, 0.0)
    detail = (await vera.get("/pools/docs")).json()
    assert [worker["worker_id"] for worker in detail["workers"]] == ["w1", "w2", "w3"]
    assert detail["worker_list"] == detail["workers"]
    assert (detail["worker_count"], detail["topics"]) == (3, ["job.a", "job.b"])
    assert datetime.fromisoformat(detail["captured_at"]).year >= 2024
    missing = await vera.get("/pools/none")
    assert (missing.status_code, missing.json()["code"]) == (404, "POOL_NOT_FOUND")


async def test_a_pool_is_created_changed_mapped_and_deleted(
    as_person: Clients, redis: RedisClient, bus: Any
) -> None:
    await put_pools(redis)
    heard = await bus.subscribe("sys.config.changed")
    alice = as_person("alice")
    made = await alice.put("/pools/ocr-2", json={"requires": [" gpu ", "gpu"], "description": "boxes"})
    shown = {"name": "ocr-2", "status": "active", "requires": ["gpu"], "description": "boxes"}
    assert (made.status_code, made.json()) == (201, shown)
    for name in ("ocr-2", "docs", "spare"):
        again = await alice.put(f"/pools/{name}")
        assert (again.status_code, again.json()["code"]) == (409, "POOL_NAME_CONFLICT")
    changed = await alice.patch("/pools/ocr-2", json={"requires": []})
    assert (changed.status_code, changed.json()) == (200, shown | {"requires": []})
    for _ in range(2):
        assert (await alice.put("/pools/ocr-2/topics/job.a")).status_code == 204
    assert (await section(redis))["topics"]["job.a"] == ["docs", "ocr-2"]
    assert (await alice.put("/pools/ocr-2/topics/job.new.one")).status_code == 204
    used = await alice.delete("/pools/ocr-2?force=true")
    assert (used.status_code, used.json()["code"]) == (409, "POOL_IN_USE")
    assert used.json()["topics"] == ["job.a", "job.new.one"]
    for topic in ("job.a", "job.new.one"):
        assert (await alice.delete(f"/pools/ocr-2/topics/{topic}")).status_code == 204
    gone = await alice.delete("/pools/ocr-2/topics/job.a")
    assert (gone.status_code, gone.json()["code"]) == (404, "TOPIC_NOT_FOUND")
    assert (await alice.delete("/pools/ocr-2")).status_code == 204
    stored = await section(redis)
    assert stored == {
        "topics": {"job.a": ["docs"], "job.b": ["docs", "spare"]},
        "pools": POOLS["pools"],
    }
    packet = BusPacket.FromString((await heard.next_msg(timeout=5)).data)
    assert (packet.alert.details["scope"], packet.alert.details["scope_id"]) == ("system", "default")
    audited = [entry["action"] for entry in (await alice.get("/audit/events?limit=50")).json()["items"]]
    assert {"pool.create", "pool.update", "pool.topic.add", "pool.topic.remove", "pool.delete"} <= set(
        audited
    )
    assert (await alice.get("/audit/verify")).json()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/pools/ab", {}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/Docs", {}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/a--b", {}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/-abc", {}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", f"/pools/{'a' * 64}", {}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/new", {"requires": "gpu"}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/new", {"description": 3}, 400, "POOL_INVALID_CONFIG"),
        ("PATCH", "/pools/docs", {"status": "asleep"}, 400, "POOL_INVALID_CONFIG"),
        ("PATCH", "/pools/none", {}, 404, "POOL_NOT_FOUND"),
        ("DELETE", "/pools/none", None, 404, "POOL_NOT_FOUND"),
        ("POST", "/pools/none/drain", None, 404, "POOL_NOT_FOUND"),
        ("POST", "/pools/docs/drain", {"timeout_seconds": 3601}, 400, "POOL_INVALID_CONFIG"),
        ("POST", "/pools/docs/drain", {"timeout_seconds": -1}, 400, "POOL_INVALID_CONFIG"),
        ("POST", "/pools/docs/drain", {"timeout_seconds": "9"}, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/docs/topics/mail.send", None, 400, "POOL_INVALID_CONFIG"),
        ("PUT", "/pools/none/topics/job.a", None, 404, "POOL_NOT_FOUND"),
    ],
)
async def test_a_bad_change_names_its_fault_and_changes_nothing(
    as_person: Clients, redis: RedisClient, method: str, path: str, body: Any, status: int, code: str
) -> None:
    await put_pools(redis)
    answer = await as_person("alice").request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert await section(redis) == POOLS


async def test_only_admins_change_pools(as_person: Clients, redis: RedisClient) -> None:
    await put_pools(redis)
    for who in ("bob", "vera"):
        caller = as_person(who)
        assert (await caller.get("/pools")).status_code == 200
        for method, path in (
            ("PUT", "/pools/new"),
            ("PATCH", "/pools/docs"),
            ("DELETE", "/pools/docs"),
            ("POST", "/pools/docs/drain"),
            ("PUT", "/pools/docs/topics/job.z"),
            ("DELETE", "/pools/docs/topics/job.a"),
        ):
            assert (await caller.request(method, path)).status_code == 403, (who, method, path)
    assert (await as_person("ulf").get("/pools")).status_code == 403
    assert await section(redis) == POOLS


async def test_a_pool_somebody_uses_is_not_deleted(as_person: Clients, redis: RedisClient) -> None:
    pools = {"topics": {"job.a": "docs"}, "pools": {"docs": {}, "lone": {}, "done": {"status": "inactive"}}}
    await put_pools(redis, pools)
    await redis.execute("ZADD", keys.job_wait(keys.tag_of(3), "lone"), 1, "j1", 2, "j2")
    await put_workers(redis, {"worker_id": "w1", "pool": "lone"}, {"worker_id": "w2", "pool": "done"})
    alice = as_person("alice")
    used = await alice.delete("/pools/lone?force=true")
    assert (used.status_code, used.json()["code"]) == (409, "POOL_IN_USE")
    facts = {name: used.json()[name] for name in ("pool", "pool_status", "queued_jobs", "agent_ids")}
    assert facts == {"pool": "lone", "pool_status": "active", "queued_jobs": 2, "agent_ids": ["w1"]}
    assert (await alice.delete("/pools/done")).status_code == 409
    assert (await alice.delete("/pools/done?force=true")).status_code == 204
    assert set((await section(redis))["pools"]) == {"docs", "lone"}


async def test_a_drained_pool_becomes_inactive(as_person: Clients, redis: RedisClient) -> None:
    await put_pools(redis)
    await put_workers(redis, {"worker_id": "w1", "pool": "spare", "active_jobs": 1})
    alice = as_person("alice")
    drained = await alice.post("/pools/docs/drain")
    assert drained.status_code == 200
    facts = drained.json()
    assert (facts["status"], facts["drain_timeout_seconds"]) == ("draining", 300)
    assert datetime.fromisoformat(facts["drain_started_at"]).year >= 2024
    again = (await alice.post("/pools/docs/drain", json={"timeout_seconds": 60})).json()
    assert again == facts | {"drain_timeout_seconds": 60}
    busy = await alice.post("/pools/spare/drain", json={"timeout_seconds": 1})
    assert busy.json()["drain_timeout_seconds"] == 1
    still = await alice.post("/pools/idle/drain")
    assert still.json()["status"] == "inactive"

    async def inactive() -> bool:
        await put_workers(redis, {"worker_id": "w1", "pool": "spare", "active_jobs": 1})
        pools = (await section(redis))["pools"]
        return pools["docs"]["status"] == pools["spare"]["status"] == "inactive"

    # `docs` has no jobs, the time of `spare` is up.
    assert await wait_until(inactive, timeout_s=40, interval_s=0.5)
    assert "drain_started_at" not in (await section(redis))["pools"]["docs"]
    woken = await alice.patch("/pools/docs", json={"status": "active"})
    assert woken.json()["status"] == "active"


def test_a_pool_is_drained_when_a_later_snapshot_shows_no_job_or_time_is_up() -> None:
    now = now_us()
    started = rfc3339(now - 20_000_000)
    entry = {"status": "draining", "drain_started_at": started, "drain_timeout_seconds": 60}
    routing = Routing.of({"pools": {"topics": {}, "pools": {"p": entry}}}, {})

    def fleet(age_s: float, active: int) -> Fleet:
        captured = datetime.fromisoformat(rfc3339(now)) - timedelta(seconds=age_s)
        workers = [{"worker_id": "w", "pool": "p", "active_jobs": active, "age_ms": 0}]
        return Fleet.of({"captured_at": captured.isoformat(), "workers": workers}, routing)

    assert is_drained("p", entry, fleet(1, 0), now)
    assert not is_drained("p", entry, fleet(1, 1), now)
    # Taken too early to show the end of the work: before the drain, or before the next heartbeats.
    assert not is_drained("p", entry, fleet(30, 0), now)
    assert not is_drained("p", entry, fleet(17, 0), now)
    assert not is_drained("p", entry, Fleet.of(None, routing), now)
    assert is_drained("p", entry | {"drain_timeout_seconds": 20}, fleet(1, 1), now)


def test_old_documents_with_capitals_are_read() -> None:
    data = {"Pools": {"docs": {"Requires": ["gpu"], "Status": "draining"}}, "Topics": {"job.A": "docs"}}
    routing = Routing.of({"pools": data}, {})
    assert routing.pools == {"docs": {"requires": ["gpu"], "status": "draining"}}
    assert routing.mapped == {"job.A": ("docs",)}
