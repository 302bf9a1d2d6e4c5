"""Dead letters in bulk, their results, the locks and the state an administrator sees (gateway spec §16, §21, §24)."""

from collections.abc import Callable

import httpx
import orjson
import pytest
from nats.aio.client import Client

from cordum.bus.messages import CORRUPT_RETRY, TERM, InMessage
from cordum.gateway.admin_locks import lock_type
from cordum.gateway.dead_letter_cleanup import DeadLetterCleanup
from cordum.gateway.dead_letters import DeadLetterEvents
from cordum.gateway.views import dead_letter
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobResult
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore
from tests.support.processes import wait_until

Person = Callable[..., httpx.AsyncClient]


async def submit(person: httpx.AsyncClient, **body: object) -> str:
    """Submit a job and return its id, whatever policy says of it."""
    return str((await person.post("/jobs", json={"prompt": "p", **body})).json()["job_id"])


async def test_many_dead_jobs_run_again_and_what_fails_is_told(as_person: Person, redis: RedisClient) -> None:
    alice = as_person("alice")
    good, gone = [await submit(alice, topic="job.review") for _ in range(2)]
    for job_id in (good, gone):
        assert (await as_person("bob").post(f"/approvals/{job_id}/reject")).status_code == 200
    await redis.execute("DEL", f"ctx:{gone}")
    answer = await alice.post("/dlq/retry", json={"job_ids": [good, gone, "nobody", good]})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [(result["job_id"], result["ok"]) for result in results] == [
        (good, True),
        (gone, False),
        ("nobody", False),
    ]
    assert results[1]["error"] == "the payload of the job has expired"
    assert (await alice.get(f"/dlq/{good}")).status_code == 404


async def test_many_dead_letters_are_deleted_by_their_tenant_only(as_person: Person) -> None:
    alice = as_person("alice")
    made = [await submit(alice, topic="job.blocked") for _ in range(3)]
    foreign = await as_person("mallory").post("/dlq/delete", json={"job_ids": made})
    if foreign.status_code == 200:
        assert not any(result["ok"] for result in foreign.json()["results"])
    answer = await alice.post("/dlq/delete", json={"job_ids": made})
    assert all(result["ok"] for result in answer.json()["results"])
    assert (await alice.get("/dlq")).json() == {"items": []}


@pytest.mark.parametrize("ids", [None, [], "x", [1], ["x"] * 501])
async def test_a_bulk_call_names_one_to_five_hundred_jobs(as_person: Person, ids: object) -> None:
    answer = await as_person("alice").post("/dlq/retry", json={"job_ids": ids})
    assert answer.status_code == 400


async def test_the_same_key_retries_a_dead_job_once(as_person: Person) -> None:
    alice = as_person("alice")
    old = await submit(alice, topic="job.review")
    assert (await as_person("bob").post(f"/approvals/{old}/reject")).status_code == 200
    headers = {"Idempotency-Key": "once"}
    answers = [await alice.post(f"/dlq/{old}/retry", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


async def test_the_event_of_a_job_nobody_recorded_is_a_dead_letter_of_its_tenant(
    as_person: Person, bus: Client
) -> None:
    for job_id, tenant in (("ours", ""), ("theirs", "globex")):
        result = JobResult(
            job_id=job_id, status=6, worker_id="w", error_code="smtp_reject", error_message="smtp 550"
        )
        packet = BusPacket(trace_id="t", sender_id="w", protocol_version=1, job_result=result)
        packet.identity.tenant_id = tenant
        packet.created_at.FromMicroseconds(now_us())
        await bus.jetstream().publish(subjects.DLQ, packet.SerializeToString())
    root, gina = as_person("root"), as_person("gina")

    async def listed() -> bool:
        return (await gina.get("/dlq/theirs")).status_code == 200

    await wait_until(listed)
    assert (await gina.get("/dlq/ours")).status_code == 404
    (shown,) = (await root.get("/dlq")).json()["items"]
    assert (shown["job_id"], shown["reason"], shown["reason_code"]) == ("ours", "smtp 550", "smtp_reject")
    assert (shown["status"], shown["attempts"], shown["tenant"]) == ("JOB_STATUS_FAILED", 0, "default")
    assert (await root.delete("/dlq/ours")).status_code == 204
    assert (await gina.get("/dlq")).json()["items"][0]["job_id"] == "theirs"


async def test_an_event_that_does_not_decode_is_dead_lettered_before_it_is_ended(
    as_person: Person, jobs: JobStore
) -> None:
    letters = DeadLetterStore(jobs)
    events = DeadLetterEvents(jobs, letters, BlobStore(jobs.client, 60), "dur")

    def garbage(delivered: int) -> InMessage:
        position = (delivered, 77, 1_772_358_600_123_456)
        return InMessage((1, subjects.DLQ.encode(), b"$JS.ACK", b"\xff\xfe", None, position))

    assert await events.handle([garbage(3)]) == [CORRUPT_RETRY]
    assert await letters.get("poison:CORDUM_SYS:77") is None
    assert await events.handle([garbage(4)]) == [TERM]
    letter = await letters.get("poison:CORDUM_SYS:77")
    assert letter is not None
    assert (letter["reason_code"], letter["subject"], letter["attempts"]) == (
        "poison_message",
        subjects.DLQ,
        4,
    )
    assert letter["raw"] == "//4="
    path = "/dlq/poison:CORDUM_SYS:77"
    assert (await as_person("alice").get(path)).status_code == 404
    root = as_person("root")
    assert (await root.get(path)).json()["raw"] == "//4="
    assert [one["job_id"] for one in (await root.get("/dlq")).json()["items"]] == ["poison:CORDUM_SYS:77"]
    assert (await root.post(f"{path}/retry")).status_code == 400
    assert (await root.delete(path)).status_code == 204
    assert "raw" not in dead_letter(letter)


@pytest.mark.usefixtures("gateway")
async def test_a_dead_job_gets_a_result_to_look_at_and_keeps_its_own(
    bus: Client, redis: RedisClient, jobs: JobStore
) -> None:
    await redis.execute("SET", "res:has", b'{"mine": 1}')
    for job_id, status in (("has", 6), ("none", 9), ("denied", 8)):
        result = JobResult(
            job_id=job_id, status=status, worker_id="cordum-scheduler", error_message="smtp 550"
        )
        packet = BusPacket(trace_id="t", sender_id="cordum-scheduler", protocol_version=1, job_result=result)
        packet.created_at.FromMicroseconds(now_us())
        await bus.jetstream().publish(subjects.DLQ, packet.SerializeToString())
    letters = DeadLetterStore(jobs)

    async def kept() -> bool:
        return None not in await letters.get_many(["has", "none", "denied"])

    await wait_until(kept)

    async def filled() -> bool:
        return await redis.execute("GET", "res:none") is not None

    await wait_until(filled)
    assert await redis.execute("GET", "res:has") == b'{"mine": 1}'
    stub = orjson.loads(await redis.execute("GET", "res:none"))
    assert (stub["job_id"], stub["status"]) == ("none", "JOB_STATUS_TIMEOUT")
    assert (stub["error"], stub["processed_by"]) == ({"message": "smtp 550"}, "cordum-scheduler")
    assert await redis.execute("GET", "res:denied") is None
    assert await redis.execute("TTL", "res:none") > 0


async def test_index_members_of_expired_dead_letters_go_once_an_hour(
    redis: RedisClient, jobs: JobStore
) -> None:
    await redis.execute("DEL", keys.LOCK_DLQ_CLEANUP)
    for job_id in ("here", "gone"):
        await redis.execute("ZADD", keys.dlq_index(jobs.tag(job_id)), 5, job_id)
    await redis.execute("SET", keys.dlq_entry(jobs.tag("here"), "here"), "{}")
    cleanup = DeadLetterCleanup(redis, DeadLetterStore(jobs))
    assert await cleanup.turn() == 1
    assert await cleanup.turn() is None
    assert await redis.execute("ZSCORE", keys.dlq_index(jobs.tag("here")), "here") is not None
    assert await redis.execute("ZSCORE", keys.dlq_index(jobs.tag("gone")), "gone") is None


async def test_results_are_filled_only_where_there_is_none(redis: RedisClient) -> None:
    blobs = BlobStore(redis, 60)
    await blobs.fill_results({"a": b"1", "b": b"2"})
    await blobs.fill_results({"b": b"3", "c": b"4"})
    assert await blobs.get_many(["res:a", "res:b", "res:c"]) == [b"1", b"2", b"4"]


async def test_an_administrator_sees_the_locks(as_person: Person, redis: RedisClient) -> None:
    await redis.execute("SET", keys.LOCK_RECONCILER, "token-1", "PX", 60_000)
    await redis.execute("SET", keys.job_lock("j-1"), "token-2", "PX", 10_000)
    await redis.execute("SET", "cordum:own", "x")
    answer = await as_person("alice").get("/admin/locks")
    assert answer.status_code == 200, answer.text
    locks = {lock["key"]: lock for lock in answer.json()["locks"]}
    assert locks[keys.LOCK_RECONCILER]["holder"] == "token-1"
    assert locks[keys.LOCK_RECONCILER]["type"] == "reconciler"
    assert 0 < locks[keys.LOCK_RECONCILER]["ttl_remaining_ms"] <= 60_000
    assert locks[keys.job_lock("j-1")]["type"] == "job"
    assert (locks["cordum:own"]["type"], locks["cordum:own"]["ttl_remaining_ms"]) == ("unknown", -1)
    assert (await as_person("ulf").get("/admin/locks")).status_code == 403


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("cordum:replayer:pending", "replayer"),
        ("cordum:scheduler:snapshot:writer", "snapshot"),
        ("cordum:dlq:cleanup", "dlq_cleanup"),
        ("cordum:wf:run:lock:r", "workflow_run"),
        ("cordum:wf:delay:poller", "delay_poller"),
        ("cordum:workflow-engine:reconciler:x", "workflow_reconciler"),
        ("cordum:rl:t", "rate_limit"),
        ("cordum:auth:jwks:x", "jwks_cache"),
        ("cordum:cb:safety:failures", "circuit_breaker"),
        ("cordum:cache:marketplace", "marketplace_cache"),
    ],
)
def test_locks_are_told_apart_by_their_keys(key: str, kind: str) -> None:
    assert lock_type(key) == kind


async def test_status_shows_breakers_and_counts(
    as_person: Person, redis: RedisClient, jobs: JobStore
) -> None:
    await redis.execute("SET", keys.BREAKER_SAFETY + "failures", 3, "PX", 20_000)
    await redis.execute("SET", keys.BREAKER_OUTPUT + "tripped", 1)
    await redis.execute("SET", keys.INPUT_FAIL_OPEN, 4)
    held = await submit(as_person("alice"), topic="job.review")
    assert held
    await submit(as_person("alice"), topic="job.blocked")

    async def body() -> dict[str, object]:
        return dict((await as_person("alice").get("/status")).json())

    async def counted() -> bool:
        return (await body()).get("dlq") == {"depth": 1}

    await wait_until(counted)
    shown = await body()
    breakers = shown["circuit_breakers"]
    assert isinstance(breakers, dict)
    assert breakers["input"].items() >= {"state": "OPEN", "failures": 3, "fail_threshold": 3}.items()
    assert 0 < breakers["input"]["cooldown_remaining_ms"] <= 20_000
    assert breakers["output"]["state"] == "HALF_OPEN"
    assert shown["input_fail_open_total"] == 4
    pipeline = shown["pipeline"]
    assert isinstance(pipeline, dict)
    assert (pipeline["approval_required"], pipeline["denied"], pipeline["quarantined"]) == (1, 1, 0)
    replicas = shown["replicas"]
    assert isinstance(replicas, dict)
    assert "scheduler" in replicas
    assert "circuit_breakers" not in (await as_person("ulf").get("/status")).json()
