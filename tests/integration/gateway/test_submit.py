"""Submissions: what each policy decision stores, publishes and answers; idempotency; batches; a missing kernel."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from nats.aio.client import Client

from cordum.protocol.cap import BusPacket
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore
from tests.support.gateway import GatewayProcess, client

Person = Callable[..., httpx.AsyncClient]


async def stored_submits(bus: Client, job_id: str) -> list[Any]:
    """Return the submits of a job in the stream."""
    found = []
    stream = bus.jetstream()
    info = await stream.stream_info("CORDUM_SYS")
    # A stream nobody wrote to yet counts from 0.
    for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
        packet = BusPacket.FromString((await stream.get_msg("CORDUM_SYS", sequence)).data)
        if packet.job_request.job_id == job_id:
            found.append(packet)
    return found


async def test_an_allowed_job_is_stored_pending_published_and_shown(
    as_person: Person, jobs: JobStore, bus: Client, redis: RedisClient
) -> None:
    alice = as_person("alice")
    body = {
        "prompt": "hello",
        "context": {"n": 1},
        "labels": {"env": "dev", "_x": "dropped"},
        "capability": "greet",
        "risk_tags": ["pii"],
        "deadline_ms": 60_000,
    }
    answer = await alice.post("/jobs", json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"job_id", "trace_id"}
    assert answer.headers["x-trace-id"] == answer.json()["trace_id"]
    job_id = answer.json()["job_id"]
    record = await jobs.get(job_id)
    assert record is not None
    assert (record["state"], record["tenant"], record["principal"]) == ("PENDING", "acme", "alice")
    assert record["submitted_by"].endswith("|principal:alice")
    assert record["deadline_unix"]
    packets = await stored_submits(bus, job_id)
    assert len(packets) == 1
    assert packets[0].sender_id == "api-gateway"
    assert dict(packets[0].job_request.labels) == {"env": "dev", "_source": "api"}
    assert await redis.execute("TTL", f"ctx:{job_id}") > 80_000
    shown = (await alice.get(f"/jobs/{job_id}")).json()
    assert (shown["job_id"], shown["tenant_id"], shown["failure_reason"]) == (job_id, "acme", "")
    assert (shown["context"]["prompt"], shown["context"]["context"]) == ("hello", {"n": 1})
    assert shown["approval_required"] is False
    traced = (await alice.get(f"/traces/{answer.json()['trace_id']}")).json()
    assert [item["id"] for item in traced] == [job_id]


async def test_a_denied_job_is_stored_with_its_dead_letter_and_not_published(
    as_person: Person, jobs: JobStore, bus: Client
) -> None:
    alice = as_person("alice")
    answer = await alice.post("/jobs", json={"prompt": "p", "topic": "job.blocked"})
    assert answer.status_code == 403
    body = answer.json()
    assert (body["code"], body["error"]) == ("policy_denied", "this topic is blocked")
    record = await jobs.get(body["job_id"])
    assert record is not None
    assert (record["state"], record["safety_decision"], record["safety_rule_id"]) == (
        "DENIED",
        "DENY",
        "deny-blocked",
    )
    entry = await DeadLetterStore(jobs).get(body["job_id"])
    assert entry is not None
    assert (entry["status"], entry["reason_code"]) == ("JOB_STATUS_DENIED", "policy_denied")
    assert await stored_submits(bus, body["job_id"]) == []
    listed = (await alice.get("/dlq")).json()["items"]
    assert [item["job_id"] for item in listed] == [body["job_id"]]
    decisions = (await alice.get(f"/jobs/{body['job_id']}/decisions")).json()
    assert [entry["action"] for entry in decisions] == ["DENY"]


async def test_a_held_job_waits_and_is_not_published(as_person: Person, jobs: JobStore, bus: Client) -> None:
    answer = await as_person("alice").post("/jobs", json={"prompt": "p", "topic": "job.review"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["reason"]) == ("approval_required", "a person decides")
    record = await jobs.get(body["job_id"])
    assert record is not None
    assert (record["state"], record["approval_status"]) == ("APPROVAL_REQUIRED", "pending")
    assert record["safety_job_hash"] == record["req_hash"]
    assert await stored_submits(bus, body["job_id"]) == []


async def test_a_throttled_job_leaves_nothing_behind(as_person: Person, redis: RedisClient) -> None:
    answer = await as_person("alice").post("/jobs", json={"prompt": "p", "topic": "job.slow"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    found = [key.decode() for key in await redis.execute("KEYS", "*")]
    # The gateway's own locks and the kernel's log of decisions come and go in the background.
    assert [key for key in found if key.startswith(("job:", "ctx:", "dlq:", "trace:"))] == []


async def test_without_a_kernel_jobs_are_accepted_and_held_for_it(
    orphan_gateway: GatewayProcess, jobs: JobStore, bus: Client
) -> None:
    async with client(orphan_gateway, "alice") as alice:
        answer = await alice.post("/jobs", json={"prompt": "p", "topic": "job.blocked"})
        assert answer.status_code == 200, answer.text
        record = await jobs.get(answer.json()["job_id"])
        assert record is not None
        assert record["state"] == "PENDING"
        assert "safety_decision" not in record
        assert len(await stored_submits(bus, answer.json()["job_id"])) == 1


async def test_a_repeated_key_gets_the_first_job(as_person: Person, jobs: JobStore) -> None:
    alice = as_person("alice")
    body = {"prompt": "p", "idempotency_key": "once"}
    first = (await alice.post("/jobs", json=body)).json()
    again = await alice.post("/jobs", json={"prompt": "p"}, headers={"Idempotency-Key": "once"})
    assert (again.status_code, again.json()) == (200, first)
    query = await alice.post("/jobs?idempotency_key=once", json={"prompt": "p"})
    assert query.json() == first
    other = await alice.post("/jobs", json={"prompt": "another", "idempotency_key": "once"})
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    foreign = await as_person("gina").post("/jobs", json=body)
    assert foreign.json()["job_id"] != first["job_id"]
    record = await jobs.get(first["job_id"])
    assert record is not None
    assert record["rev"] == "1"


async def test_concurrent_submissions_with_one_key_make_one_job(
    as_person: Person, redis: RedisClient
) -> None:
    alice = as_person("alice")
    body = {"prompt": "p", "idempotency_key": "race"}
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(alice.post("/jobs", json=body)) for _ in range(24)]
    answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert len(await redis.execute("KEYS", "job:meta:*")) == 1


async def test_a_replay_tells_the_first_outcome(as_person: Person) -> None:
    alice = as_person("alice")
    for topic, status, word in (("job.blocked", 403, None), ("job.review", 200, "approval_required")):
        body = {"prompt": "p", "topic": topic, "idempotency_key": topic}
        first = await alice.post("/jobs", json=body)
        again = await alice.post("/jobs", json=body)
        assert (again.status_code, again.json().get("status" if word else "nothing")) == (status, word)
        assert again.json()["job_id"] == first.json()["job_id"]


async def test_a_key_whose_job_was_never_made_is_completed_under_its_id(
    as_person: Person, jobs: JobStore, redis: RedisClient
) -> None:
    await redis.execute("SET", "job:idempotency:{acme}:crashed", "the-first-id")
    answer = await as_person("alice").post("/jobs", json={"prompt": "p", "idempotency_key": "crashed"})
    assert answer.json()["job_id"] == "the-first-id"
    record = await jobs.get("the-first-id")
    assert record is not None
    assert record["state"] == "PENDING"
    assert await redis.execute("EXISTS", "ctx:the-first-id") == 1


async def test_each_item_of_a_batch_has_its_own_outcome(as_person: Person, jobs: JobStore) -> None:
    items = [
        {"prompt": "p"},
        {"topic": "job.default"},
        {"prompt": "p", "topic": "job.blocked"},
        {"prompt": "p", "topic": "job.review"},
        {"prompt": "p", "topic": "job.slow"},
        7,
    ]
    answer = await as_person("alice").post("/jobs/batch", json={"jobs": items})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["http_status"] for result in results] == [200, 400, 403, 200, 429, 400]
    assert results[5]["code"] == "invalid_json"
    record = await jobs.get(results[0]["job_id"])
    assert record is not None
    assert record["state"] == "PENDING"


async def test_a_large_batch_is_stored_whole(as_person: Person, redis: RedisClient) -> None:
    answer = await as_person("alice").post(
        "/jobs/batch", json={"jobs": [{"prompt": f"p{n}"} for n in range(500)]}
    )
    ids = {result["job_id"] for result in answer.json()["results"]}
    assert len(ids) == 500
    assert await redis.execute("ZCARD", "job:tenant:open:{acme}") == 500


async def test_a_secret_reference_tags_the_stored_request(as_person: Person, jobs: JobStore) -> None:
    body = {"prompt": "use secret://vault/x", "labels": {"team": "a"}}
    job_id = (await as_person("alice").post("/jobs", json=body)).json()["job_id"]
    stored = orjson.loads(await jobs.request(job_id) or b"{}")
    assert stored["labels"]["secrets_present"] == "true"
    assert stored["meta"]["riskTags"] == ["secrets"]


@pytest.mark.parametrize(
    ("who", "headers", "principal"),
    [
        ("alice", {"X-Principal-Id": "mallory"}, "alice"),
        ("loose", {"X-Principal-Id": "carol"}, "carol"),
        ("loose", {}, "dave"),
    ],
)
async def test_the_bound_principal_wins_then_the_header_then_the_body(
    as_person: Person, jobs: JobStore, who: str, headers: dict[str, str], principal: str
) -> None:
    body = {"prompt": "p", "principal_id": "dave"}
    job_id = (await as_person(who, **headers).post("/jobs", json=body)).json()["job_id"]
    record = await jobs.get(job_id)
    assert record is not None
    assert record["principal"] == principal
    labels = json.loads(record["labels"])
    assert labels.get("requested_principal") == (None if principal == "dave" else "dave")
