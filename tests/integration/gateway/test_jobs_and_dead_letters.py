"""Lists, cancel, dead letters, workers, tenants: what a caller sees and may do."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
from nats.aio.client import Client

from cordum.protocol.cap import BusPacket, JobStatus
from cordum.runtime.clock import now_us
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.support.gateway import GatewayProcess
from tests.support.processes import wait_until

Person = Callable[..., httpx.AsyncClient]


async def submit(person: httpx.AsyncClient, **fields: Any) -> str:
    """Submit a job and return its id, whatever policy says."""
    return str((await person.post("/jobs", json={"prompt": "p", **fields})).json()["job_id"])


async def test_pages_show_every_job_once_newest_first(as_person: Person) -> None:
    alice = as_person("alice")
    made = [await submit(alice) for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await alice.get(f"/jobs?limit=3{cursor}")
        page = answer.json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            assert "link" not in answer.headers
            break
        assert f"cursor={page['next_cursor']}" in answer.headers["link"]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_filters_narrow_the_list(as_person: Person) -> None:
    alice = as_person("alice")
    plain = await submit(alice)
    waiting = await submit(alice, topic="job.review", team_id="red")
    denied = await submit(alice, topic="job.blocked")

    async def ids(query: str) -> list[str]:
        return [item["id"] for item in (await alice.get(f"/jobs?{query}")).json()["items"]]

    assert await ids("state=pending") == [plain]
    assert await ids("state=DENIED") == [denied]
    assert await ids("topic=job.review") == [waiting]
    assert await ids("team=red") == [waiting]
    assert await ids("limit=0") == [denied, waiting, plain]
    record = (await alice.get(f"/jobs/{plain}")).json()
    assert await ids(f"trace_id={record['trace_id']}") == [plain]
    assert await ids("updated_before=1000") == []
    assert await ids(f"updated_after={now_us() + 60_000_000}") == []


async def test_a_cancelled_job_stays_cancelled_and_everybody_hears(
    as_person: Person, jobs: JobStore, bus: Client, redis: RedisClient
) -> None:
    heard: dict[str, Any] = {}

    async def note(message: Any) -> None:
        heard[message.subject] = BusPacket.FromString(message.data)

    for subject in ("sys.job.cancel", "sys.internal.job.result.accepted", "sys.job.result"):
        await bus.subscribe(subject, cb=note)
    await bus.flush()
    alice = as_person("alice")
    job_id = await submit(alice)
    answer = await alice.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()) == (200, {"id": job_id, "state": "CANCELLED"})
    events = await jobs.events(job_id)
    assert 0 <= events[-1]["ctx"]["duration_ms"] < 60_000
    again = await alice.post(f"/jobs/{job_id}/cancel")
    assert again.json() == {"id": job_id, "state": "CANCELLED", "reason": "job already terminal"}
    record = await jobs.get(job_id)
    assert record is not None
    assert record["state"] == "CANCELLED"
    assert "after" not in record
    assert await redis.execute("ZCARD", "job:tenant:open:{acme}") == 0
    await wait_until(lambda: len(heard) == 3)
    assert heard["sys.job.cancel"].job_cancel.job_id == job_id
    assert heard["sys.internal.job.result.accepted"].job_result.status == JobStatus.JOB_STATUS_CANCELLED


async def test_a_plain_user_cancels_only_own_jobs(as_person: Person) -> None:
    ulf = as_person("ulf")
    own, foreign = await submit(ulf), await submit(as_person("alice"))
    assert (await ulf.post(f"/jobs/{own}/cancel")).status_code == 200
    answer = await ulf.post(f"/jobs/{foreign}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


async def test_a_dead_job_runs_again_as_a_new_one(
    as_person: Person, jobs: JobStore, redis: RedisClient
) -> None:
    alice = as_person("alice")
    old = await submit(alice, topic="job.review", context={"n": 1}, labels={"team": "a"}, idempotency_key="k")
    assert (await as_person("bob").post(f"/approvals/{old}/reject")).status_code == 200
    answer = await alice.post(f"/dlq/{old}/retry")
    assert answer.status_code == 200, answer.text
    new = answer.json()["job_id"]
    assert new.startswith(f"{old}-retry-")
    record = await jobs.get(new)
    assert record is not None
    # Judged afresh: the old answer of a human does not carry over.
    assert (record["state"], record["trace_id"]) == ("APPROVAL_REQUIRED", f"dlq-retry-{old}")
    stored = orjson.loads(await jobs.request(new) or b"{}")
    assert stored["labels"] == {
        "_source": "api",
        "team": "a",
        "retry": "true",
        "dlq_entry": old,
        "retry_of_job": old,
    }
    assert (stored["env"]["retry_of_job"], stored["meta"]["idempotencyKey"]) == (old, "")
    assert stored["env"]["tenant_id"] == stored["tenantId"] == "acme"
    assert stored["contextPtr"] == f"redis://ctx:{new}"
    assert orjson.loads(await redis.execute("GET", f"ctx:{new}"))["context"] == {"n": 1}
    assert (await alice.get(f"/dlq/{old}")).status_code == 404


async def test_a_retry_that_policy_denies_is_denied_again(as_person: Person) -> None:
    alice = as_person("alice")
    old = await submit(alice, topic="job.blocked")
    answer = await alice.post(f"/dlq/{old}/retry")
    assert (answer.status_code, answer.json()["code"]) == (403, "policy_denied")
    items = (await alice.get("/dlq")).json()["items"]
    assert [item["job_id"].startswith(f"{old}-retry-") for item in items] == [True]


async def test_a_retry_without_its_payload_is_refused(as_person: Person, redis: RedisClient) -> None:
    alice = as_person("alice")
    old = await submit(alice, topic="job.blocked")
    await redis.execute("DEL", f"ctx:{old}")
    answer = await alice.post(f"/dlq/{old}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "context_expired")
    assert (await alice.get(f"/dlq/{old}")).status_code == 200


async def test_dead_letters_are_paged_and_deleted(as_person: Person) -> None:
    alice = as_person("alice")
    made = {await submit(alice, topic="job.blocked") for _ in range(5)}
    page = (await alice.get("/dlq/page?limit=2")).json()
    assert len(page["items"]) >= 2
    entry = page["items"][0]
    assert (entry["error"], entry["original_state"], entry["retry_count"]) == (entry["reason"], "DENIED", 0)
    for job_id in made:
        assert (await alice.delete(f"/dlq/{job_id}")).status_code == 204
    assert (await alice.get("/dlq")).json() == {"items": []}


async def test_workers_come_from_the_registry_snapshot(as_person: Person, redis: RedisClient) -> None:
    snapshot = {
        "captured_at": "2026-01-05T10:00:00Z",
        "workers": [{"worker_id": "w2", "age_ms": 10}, {"worker_id": "w1", "pool": "p", "active_jobs": 2}],
    }
    await redis.execute("SET", "sys:workers:snapshot", orjson.dumps(snapshot))
    vera = as_person("vera")
    items = (await vera.get("/workers")).json()["items"]
    assert [item["worker_id"] for item in items] == ["w1", "w2"]
    assert (items[0]["active_jobs"], items[0]["online"], items[0]["labels"]) == (2, False, {})
    assert (await vera.get("/workers/w2")).json()["worker_id"] == "w2"
    assert (await vera.get("/workers/w2/jobs")).json() == {"items": []}


async def test_another_tenant_sees_and_touches_nothing(as_person: Person, jobs: JobStore) -> None:
    alice, gina = as_person("alice"), as_person("gina")
    held, dead = await submit(alice, topic="job.review"), await submit(alice, topic="job.blocked")
    trace = (await alice.get(f"/jobs/{held}")).json()["trace_id"]
    before = [await jobs.get(held), await jobs.get(dead)]
    for method, path in (
        ("GET", f"/jobs/{held}"),
        ("GET", f"/jobs/{held}/decisions"),
        ("GET", f"/jobs/{held}/stream"),
        ("POST", f"/jobs/{held}/cancel"),
        ("POST", f"/approvals/{held}/approve"),
        ("POST", f"/approvals/{held}/reject"),
        ("GET", f"/dlq/{dead}"),
        ("POST", f"/dlq/{dead}/retry"),
        ("DELETE", f"/dlq/{dead}"),
        ("GET", f"/traces/{trace}"),
    ):
        answer = await gina.request(method, path)
        assert answer.status_code == 404, (method, path, answer.text)
    for path in ("/jobs", "/approvals", "/dlq", "/dlq/page"):
        assert (await gina.get(path)).json()["items"] == []
    assert [await jobs.get(held), await jobs.get(dead)] == before
    assert (await as_person("root").get(f"/jobs/{held}")).status_code == 200
    assert len((await as_person("root", **{"X-Tenant-ID": "acme"}).get("/jobs")).json()["items"]) == 2


async def test_status_shows_inner_parts_to_admins_only(as_person: Person) -> None:
    full, short = (await as_person("alice").get("/status")), (await as_person("ulf").get("/status"))
    assert full.json()["redis"]["ok"] is True
    assert isinstance(full.json()["workers"]["count"], int)
    assert "instance_id" in full.json()
    assert "instance_id" not in short.json()


async def test_status_is_read_once_in_a_while(as_person: Person) -> None:
    async def read_then_kept() -> bool:
        answers = [await as_person("alice").get("/status") for _ in range(2)]
        return [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT"]

    # Somebody else may have asked a moment ago.
    await wait_until(read_then_kept)


async def test_the_api_describes_every_route(as_person: Person, gateway: GatewayProcess) -> None:
    alice = as_person("alice")
    document = (await alice.get(f"{gateway.url}/openapi.json")).json()
    assert {"get", "post"} <= set(document["paths"]["/api/v1/jobs"])
    submit_entry = document["paths"]["/api/v1/jobs"]["post"]
    schema = submit_entry["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["prompt"]
    ids = [entry["operationId"] for path in document["paths"].values() for entry in path.values()]
    assert len(ids) == len(set(ids))
    health = (await alice.get("/health")).json()
    assert health == {"status": "healthy", "nats": "connected", "redis": "ok"}
