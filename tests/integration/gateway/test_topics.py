"""Topics over HTTP and what they mean for submissions (gateway spec §14.1, §18; packs spec §11)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest

from cordum.protocol.cap import BusPacket
from cordum.runtime.clock import rfc3339
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, client
from tests.support.processes import wait_until

Clients = Callable[..., httpx.AsyncClient]
Stored = Callable[[], Any]
POOLS = {
    "topics": {"job.mapped": ["wide", "spare"]},
    "pools": {"wide": {}, "spare": {}, "own": {"requires": []}},
}


@pytest.fixture(autouse=True)
async def registry(redis: RedisClient, gateway: GatewayProcess) -> AsyncIterator[None]:
    """Pools to register topics in; afterwards the gateway knows of no topic."""
    document = {"scope": "system", "scope_id": "default", "data": {"pools": POOLS}, "revision": 1}
    await redis.execute("SET", "cfg:system:default", orjson.dumps(document))
    yield
    await redis.execute("DEL", "cfg:system:topics")
    async with client(gateway, "alice") as alice:

        async def free() -> bool:
            answer = await alice.post("/jobs", json={"prompt": "x", "topic": "job.unheard.of"})
            return answer.status_code == 200

        assert await wait_until(free)


async def topics(redis: RedisClient) -> dict[str, Any]:
    raw = await redis.execute("GET", "cfg:system:topics")
    return orjson.loads(raw)["data"] if raw else {}


async def test_a_topic_is_registered_listed_replaced_and_removed(
    as_person: Clients, redis: RedisClient
) -> None:
    alice, vera = as_person("alice"), as_person("vera")
    assert (await vera.get("/topics")).json() == {"items": [], "registry_empty": True}
    body = {
        "name": "job.acme.bill",
        "pool": "own",
        "input_schema_id": "bill-v1",
        "requires": ["b", " a ", "b", ""],
        "risk_tags": ["money"],
    }
    made = await alice.post("/topics", json=body)
    assert made.status_code == 201, made.text
    record = {
        "name": "job.acme.bill",
        "tenant_id": "acme",
        "pool": "own",
        "input_schema_id": "bill-v1",
        "requires": ["a", "b"],
        "risk_tags": ["money"],
        "status": "active",
    }
    assert made.json() == record | {"active_worker_count": 0}
    assert (await topics(redis))["tenant:acme:job.acme.bill"] == record
    replaced = await alice.post("/topics", json={"name": "job.acme.bill", "status": "disabled"})
    assert (replaced.status_code, replaced.json()["status"], replaced.json().get("pool")) == (
        200,
        "disabled",
        None,
    )
    listed = (await vera.get("/topics")).json()
    assert [item["name"] for item in listed["items"]] == ["job.acme.bill", "job.mapped"]
    assert listed["items"][0] == {
        "name": "job.acme.bill",
        "pool": "",
        "requires": [],
        "risk_tags": [],
        "status": "disabled",
        "active_worker_count": 0,
    }
    assert (await as_person("gina").get("/topics")).json()["items"][0]["name"] == "job.mapped"
    assert (await alice.delete("/topics/job.acme.bill")).status_code == 204
    again = await alice.delete("/topics/job.acme.bill")
    assert (again.status_code, again.json()["code"]) == (404, "TOPIC_NOT_FOUND")


async def test_the_first_registration_takes_over_what_is_routed(
    as_person: Clients, redis: RedisClient
) -> None:
    assert (
        await as_person("alice").post("/topics", json={"name": "job.new", "pool": "own"})
    ).status_code == 201
    stored = await topics(redis)
    assert set(stored) == {"job.mapped", "tenant:acme:job.new"}
    assert (stored["job.mapped"]["pool"], stored["job.mapped"]["status"]) == ("wide", "active")


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (
            {"name": "mail.send", "pool": "own"},
            400,
            "TOPIC_SCHEMA_VIOLATION",
            "topic must match job.* pattern",
        ),
        ({"name": "job.a b", "pool": "own"}, 400, "TOPIC_SCHEMA_VIOLATION", "topic must match job.* pattern"),
        ({"name": 3, "pool": "own"}, 400, "TOPIC_SCHEMA_VIOLATION", "topic must match job.* pattern"),
        (
            {"name": "job.a", "pool": "own", "status": "off"},
            400,
            "TOPIC_SCHEMA_VIOLATION",
            "invalid topic status",
        ),
        ({"name": "job.a"}, 400, "TOPIC_SCHEMA_VIOLATION", "topic pool required for job.a"),
        ({"name": "job.a", "pool": 3}, 400, "TOPIC_SCHEMA_VIOLATION", "pool: expected"),
        (
            {"name": "job.a", "pool": "own", "requires": "gpu"},
            400,
            "TOPIC_SCHEMA_VIOLATION",
            "requires: expected",
        ),
        (
            {"name": "job.a", "pool": "own", "risk_tags": ["x" * 129]},
            400,
            "TOPIC_SCHEMA_VIOLATION",
            "risk_tags: expected",
        ),
        (
            {"name": "job.a", "pool": "own", "requires": ["x"] * 101},
            400,
            "TOPIC_SCHEMA_VIOLATION",
            "requires",
        ),
        ({"name": "job.a", "pool": "nowhere"}, 404, "POOL_NOT_FOUND", "nowhere"),
        (
            {"name": "job.a", "pool": "own", "tenant_id": "globex"},
            403,
            "tenant_access_denied",
            "access denied",
        ),
    ],
)
async def test_a_bad_registration_changes_nothing(
    as_person: Clients, snapshot: Stored, body: dict[str, Any], status: int, code: str, message: str
) -> None:
    before = await snapshot()
    answer = await as_person("alice").post("/topics", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert message in answer.json()["error"]
    assert await snapshot() == before


async def test_only_who_crosses_tenants_touches_registrations_of_everybody(as_person: Clients) -> None:
    root, alice = as_person("root"), as_person("alice")
    shared = await root.post("/topics", json={"name": "job.shared", "pool": "wide", "tenant_id": ""})
    assert (shared.status_code, shared.json().get("tenant_id")) == (201, None)
    assert (await alice.delete("/topics/job.shared")).status_code == 404
    shadow = await alice.post("/topics", json={"name": "job.shared", "pool": "own"})
    assert (shadow.status_code, shadow.json()["tenant_id"]) == (200, "acme")
    names = {item["name"]: item["pool"] for item in (await alice.get("/topics")).json()["items"]}
    assert names["job.shared"] == "own"
    replaced = await root.post("/topics", json={"name": "job.shared", "pool": "spare"})
    assert (replaced.status_code, replaced.json().get("tenant_id")) == (200, None)
    names = {item["name"]: item["pool"] for item in (await as_person("gina").get("/topics")).json()["items"]}
    assert names["job.shared"] == "spare"
    assert (await root.delete("/topics/job.shared")).status_code == 204


async def test_removing_the_last_registration_ends_the_routing_too(
    as_person: Clients, redis: RedisClient
) -> None:
    root = as_person("root")
    await root.post("/topics", json={"name": "job.other", "pool": "own", "tenant_id": ""})
    assert (await root.delete("/topics/job.mapped")).status_code == 204
    stored = orjson.loads(await redis.execute("GET", "cfg:system:default"))
    assert stored["data"]["pools"]["topics"] == {}
    assert (await root.delete("/topics/job.other")).status_code == 204
    # What was routed before is not taken over again.
    assert (await root.get("/topics")).json() == {"items": [], "registry_empty": True}
    assert (await root.post("/topics", json={"name": "job.x", "pool": "own"})).status_code == 201
    assert set(await topics(redis)) == {"tenant:default:job.x"}


async def test_roles_decide_who_reads_and_who_writes(as_person: Clients) -> None:
    body = {"name": "job.acme.x", "pool": "own"}
    for who, read, write in (("bob", 200, 403), ("vera", 200, 403), ("ulf", 403, 403), ("nobody", 403, 403)):
        caller = as_person(who)
        assert (await caller.get("/topics")).status_code == read
        assert (await caller.post("/topics", json=body)).status_code == write
        assert (await caller.delete("/topics/job.acme.x")).status_code == write


async def test_submissions_on_topics_nobody_registered_are_refused(
    as_person: Clients, snapshot: Stored
) -> None:
    alice = as_person("alice")
    free = await alice.post("/jobs", json={"prompt": "x", "topic": "job.whatever"})
    assert free.status_code == 200
    for number in range(22):
        made = await alice.post("/topics", json={"name": f"job.n{number:02}", "pool": "own"})
        assert made.status_code == 201
    await alice.post("/topics", json={"name": "job.closed", "status": "disabled"})
    await alice.post("/topics", json={"name": "job.old", "pool": "own", "status": "deprecated"})
    before = await snapshot()
    refused = await alice.post("/jobs", json={"prompt": "x", "topic": "job.whatever"})
    answer = refused.json()
    assert (refused.status_code, answer["code"], answer["topics_endpoint"]) == (
        400,
        "unknown_topic",
        "/api/v1/topics",
    )
    assert (len(answer["registered_topics"]), answer["truncated"]) == (20, True)
    assert "job.closed" not in answer["registered_topics"]
    closed = await alice.post("/jobs", json={"prompt": "x", "topic": "job.closed"})
    assert (closed.status_code, closed.json()["code"]) == (400, "topic_disabled")
    assert await snapshot() == before
    assert (await alice.post("/jobs", json={"prompt": "x", "topic": "job.old"})).status_code == 200
    batch = {"jobs": [{"prompt": "x", "topic": topic} for topic in ("job.n01", "job.whatever", "job.mapped")]}
    results = (await alice.post("/jobs/batch", json=batch)).json()["results"]
    assert [result["http_status"] for result in results] == [200, 400, 200]
    assert results[1]["code"] == "unknown_topic"
    # Registered for one tenant is unknown to another.
    foreign = await as_person("gina").post("/jobs", json={"prompt": "x", "topic": "job.n01"})
    assert (foreign.status_code, foreign.json()["registered_topics"]) == (400, ["job.mapped"])


async def test_workers_of_the_pool_are_counted(as_person: Clients, redis: RedisClient) -> None:
    workers = [
        {"worker_id": "named", "pool": "own", "active_jobs": 1, "max_parallel_jobs": 4, "age_ms": 100},
        {"worker_id": "derived", "active_jobs": 0, "ready_topics": ["job.acme.*"], "age_ms": 100},
        {"worker_id": "silent", "pool": "own", "active_jobs": 0, "age_ms": 3_600_000},
        {"worker_id": "elsewhere", "pool": "wide", "active_jobs": 0, "age_ms": 100},
    ]
    snapshot = {"captured_at": rfc3339(), "workers": workers}
    await redis.execute("SET", "sys:workers:snapshot", orjson.dumps(snapshot))
    made = await as_person("alice").post("/topics", json={"name": "job.acme.one", "pool": "own"})
    assert made.json()["active_worker_count"] == 2
    items = (await as_person("vera").get("/topics")).json()["items"]
    assert {item["name"]: item["active_worker_count"] for item in items} == {
        "job.acme.one": 2,
        "job.mapped": 1,
    }


async def test_changes_are_announced_and_audited(as_person: Clients, bus: Any) -> None:
    heard = await bus.subscribe("sys.config.changed")
    alice = as_person("alice")
    await alice.post("/topics", json={"name": "job.acme.x", "pool": "own", "pack_id": "bills"})
    await alice.delete("/topics/job.acme.x")
    for _ in range(2):
        packet = BusPacket.FromString((await heard.next_msg(timeout=5)).data)
        assert (packet.alert.details["scope"], packet.alert.details["scope_id"]) == ("system", "topics")
    events = (await alice.get("/audit/events?limit=10")).json()["items"]
    found = [event for event in events if event["event_type"].startswith("topic_")]
    assert [(event["event_type"], event["severity"]) for event in found] == [
        ("topic_unregistered", "MEDIUM"),
        ("topic_registered", "INFO"),
    ]
    extra = found[1]["extra"]
    assert (extra["topic_name"], extra["pack_id"], extra["actor_id"]) == ("job.acme.x", "bills", "alice")
    assert (await alice.get("/audit/verify")).json()["status"] == "ok"


async def test_concurrent_registrations_lose_none(as_person: Clients, redis: RedisClient) -> None:
    alice = as_person("alice")
    names = [f"job.c{number}" for number in range(4)]

    async def register(name: str) -> None:
        while (await alice.post("/topics", json={"name": name, "pool": "own"})).status_code == 409:
            pass

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(register(name))
    assert {f"tenant:acme:{name}" for name in names} < set(await topics(redis))
