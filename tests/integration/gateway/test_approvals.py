"""Human decisions: who may decide, once, about the very request and policy that was held."""

import asyncio
from collections.abc import Callable

import httpx
import orjson
import pytest
from nats.aio.client import Client

from cordum.protocol.cap import JobStatus
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore
from tests.integration.gateway.test_submit import stored_submits
from tests.support.gateway import POLICY, GatewayProcess, client
from tests.support.kernel import KernelProcess
from tests.support.processes import wait_until

Person = Callable[..., httpx.AsyncClient]


async def held(as_person: Person, who: str = "alice") -> str:
    """Submit a job that waits for a human; return its id."""
    answer = await as_person(who).post(
        "/jobs", json={"prompt": "p", "topic": "job.review", "context": {"token": "x"}}
    )
    assert answer.json()["status"] == "approval_required"
    return str(answer.json()["job_id"])


async def test_an_approval_releases_the_job_and_stamps_its_request(
    as_person: Person, jobs: JobStore, bus: Client
) -> None:
    job_id = await held(as_person)
    bob = as_person("bob")
    listed = (await bob.get("/approvals")).json()["items"]
    assert [(item["job_id"], item["approval_status"], item["decision"]) for item in listed] == [
        (job_id, "pending", "REQUIRE_APPROVAL")
    ]
    assert listed[0]["blast_radius"]["systems"] == []
    answer = await bob.post(f"/approvals/{job_id}/approve", json={"reason": "fine", "note": "n"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["job_id"] == job_id
    record = await jobs.get(job_id)
    assert record is not None
    assert (record["state"], record["approval_decision"], record["approval_by"]) == (
        "PENDING",
        "approve",
        "bob",
    )
    assert (record["approval_status"], record["approval_revision"]) == ("approved", "2")
    labels = orjson.loads(await jobs.request(job_id) or b"{}")["labels"]
    assert (labels["approval_granted"], labels["approval_snapshot"]) == ("true", record["safety_snapshot"])
    packets = await stored_submits(bus, job_id)
    assert [packet.job_request.labels["cordum.bus_msg_id"] for packet in packets] == [f"approval:{job_id}"]
    assert (await bob.get("/approvals")).json()["items"] == []
    resolved = (await bob.get("/approvals?include_resolved=true")).json()["items"]
    assert [item["resolved_by"] for item in resolved] == ["bob"]


@pytest.mark.parametrize("verb", ["approve", "reject"])
async def test_a_second_equal_decision_is_told_the_first(
    as_person: Person, jobs: JobStore, verb: str
) -> None:
    job_id = await held(as_person)
    bob = as_person("bob")
    await bob.post(f"/approvals/{job_id}/{verb}")
    before = await jobs.get(job_id)
    again = await bob.post(f"/approvals/{job_id}/{verb}")
    word = {"approve": "approved", "reject": "rejected"}[verb]
    assert (again.status_code, again.json()["status"]) == (200, f"already_{word}")
    assert again.json()[f"{word}_by"] == "bob"
    assert await jobs.get(job_id) == before
    other = {"approve": "reject", "reject": "approve"}[verb]
    contrary = await bob.post(f"/approvals/{job_id}/{other}")
    assert (contrary.status_code, contrary.json()["code"]) == (409, "approval_already_resolved")
    assert await jobs.get(job_id) == before


@pytest.mark.parametrize("who", ["alice", "twin"])
async def test_nobody_decides_about_an_own_job(as_person: Person, jobs: JobStore, who: str) -> None:
    job_id = await held(as_person)
    before = await jobs.get(job_id)
    for verb in ("approve", "reject"):
        answer = await as_person(who).post(f"/approvals/{job_id}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (403, "self_approval_denied")
    assert await jobs.get(job_id) == before


async def test_the_same_key_under_another_name_is_the_same_person(as_person: Person) -> None:
    job_id = await held(as_person, "loose")
    answer = await as_person("loose", **{"X-Principal-Id": "somebody-else"}).post(
        f"/approvals/{job_id}/approve"
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "self_approval_denied")


async def test_approving_needs_the_permission(as_person: Person) -> None:
    job_id = await held(as_person)
    for who in ("vera", "ulf", "nobody"):
        answer = await as_person(who).post(f"/approvals/{job_id}/approve")
        assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


async def test_a_rejection_denies_the_job_and_tells_the_others(
    as_person: Person, jobs: JobStore, bus: Client
) -> None:
    heard: list[bytes] = []

    async def note(message: object) -> None:
        heard.append(message.data)  # type: ignore[attr-defined]

    await bus.subscribe("sys.internal.job.result.accepted", cb=note)
    await bus.flush()
    job_id = await held(as_person)
    answer = await as_person("bob").post(f"/approvals/{job_id}/reject", json={"reason": "no"})
    assert (answer.status_code, answer.json()) == (200, {"job_id": job_id})
    record = await jobs.get(job_id)
    assert record is not None
    assert (record["state"], record["failure_reason"], record["approval_status"]) == (
        "DENIED",
        "no",
        "rejected",
    )
    assert "after" not in record
    entry = await DeadLetterStore(jobs).get(job_id)
    assert entry is not None
    assert (entry["reason_code"], entry["reason"]) == ("approval_rejected", "no")
    from cordum.protocol.cap import BusPacket

    await wait_until(lambda: heard)
    result = BusPacket.FromString(heard[0]).job_result
    assert (result.job_id, result.status, result.error_code) == (
        job_id,
        JobStatus.JOB_STATUS_DENIED,
        "approval_rejected",
    )


async def test_a_job_that_does_not_wait_cannot_be_approved(as_person: Person) -> None:
    job_id = (await as_person("alice").post("/jobs", json={"prompt": "p"})).json()["job_id"]
    answer = await as_person("bob").post(f"/approvals/{job_id}/approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_not_actionable")


@pytest.mark.parametrize("ended", ["expire", "invalidate"])
@pytest.mark.parametrize("verb", ["approve", "reject"])
async def test_an_approval_nobody_decided_is_not_actionable(
    as_person: Person, jobs: JobStore, ended: str, verb: str
) -> None:
    job_id = await held(as_person)
    change = {"id": job_id, "from": ["APPROVAL_REQUIRED"], "to": "TIMEOUT"}
    await jobs.move({**change, "set": {"approval_decision": ended}}, now_us=now_us())
    answer = await as_person("bob").post(f"/approvals/{job_id}/{verb}")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_not_actionable")


async def test_a_changed_request_cannot_be_approved(
    as_person: Person, jobs: JobStore, redis: RedisClient
) -> None:
    job_id = await held(as_person)
    request = orjson.loads(await jobs.request(job_id) or b"{}")
    request["topic"] = "job.other"
    await redis.execute("SET", keys.job_request(jobs.tag(job_id), job_id), orjson.dumps(request))
    answer = await as_person("bob").post(f"/approvals/{job_id}/approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_stale_request")
    record = await jobs.get(job_id)
    assert record is not None
    assert record["state"] == "APPROVAL_REQUIRED"


async def test_approve_against_cancel_has_one_winner(as_person: Person, jobs: JobStore) -> None:
    alice, bob = as_person("alice"), as_person("bob")
    for _ in range(6):
        job_id = await held(as_person)
        async with asyncio.TaskGroup() as tasks:
            approval = tasks.create_task(bob.post(f"/approvals/{job_id}/approve"))
            cancelling = tasks.create_task(alice.post(f"/jobs/{job_id}/cancel"))
        record = await jobs.get(job_id)
        assert record is not None
        # Cancelling wins over a released job too; an approval never revives a cancelled one.
        assert record["state"] == "CANCELLED"
        assert cancelling.result().json()["state"] == "CANCELLED"
        assert approval.result().status_code in {200, 409}


async def test_of_two_approvers_one_decides(as_person: Person, jobs: JobStore) -> None:
    job_id = await held(as_person)
    async with asyncio.TaskGroup() as tasks:
        approval = tasks.create_task(as_person("bob").post(f"/approvals/{job_id}/approve"))
        refusal = tasks.create_task(as_person("root").post(f"/approvals/{job_id}/reject"))
    record = await jobs.get(job_id)
    assert record is not None
    assert record["state"] in {"PENDING", "DENIED"}
    winner, loser = (approval, refusal) if record["state"] == "PENDING" else (refusal, approval)
    assert (winner.result().status_code, loser.result().status_code) == (200, 409)


async def test_a_locked_job_asks_to_try_again(as_person: Person, redis: RedisClient) -> None:
    job_id = await held(as_person)
    await redis.execute("SET", keys.job_lock(job_id), "somebody", "PX", 10_000)
    answer = await as_person("bob").post(f"/approvals/{job_id}/approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_retryable_lock")
    assert answer.json()["retryable"] is True


@pytest.mark.parametrize(
    ("changed", "status", "state"),
    [
        (("allow-rest", "allow-everything"), 200, "PENDING"),
        (("job.blocked]", "job.blocked, job.review]"), 409, "DENIED"),
    ],
    ids=["still held", "now denied"],
)
async def test_a_changed_policy_is_asked_again(
    as_person: Person,
    jobs: JobStore,
    policy_kernel: KernelProcess,
    changed: tuple[str, str],
    status: int,
    state: str,
) -> None:
    job_id = await held(as_person)
    first = await jobs.get(job_id)
    assert first is not None

    async def snapshot() -> str:
        answer = await as_person("alice").post("/jobs", json={"prompt": "p", "topic": "job.blocked"})
        record = await jobs.get(answer.json()["job_id"])
        return record["safety_snapshot"] if record else ""

    try:
        policy_kernel.write_policy(POLICY.replace(*changed))

        async def is_new() -> bool:
            return await snapshot() != first["safety_snapshot"]

        await wait_until(is_new)
        answer = await as_person("bob").post(f"/approvals/{job_id}/approve")
        assert answer.status_code == status, answer.text
        record = await jobs.get(job_id)
        assert record is not None
        assert record["state"] == state
        if status == 409:
            assert answer.json()["code"] == "approval_stale_snapshot"
            assert record["approval_status"] == "invalidated"
        else:
            assert record["safety_snapshot"] != first["safety_snapshot"]
    finally:
        policy_kernel.write_policy(POLICY)

        async def is_back() -> bool:
            return await snapshot() == first["safety_snapshot"]

        await wait_until(is_back)


async def test_a_held_job_has_its_deadline_from_the_start(as_person: Person, jobs: JobStore) -> None:
    body = {"prompt": "p", "topic": "job.review", "deadline_ms": 60_000}
    job_id = (await as_person("alice").post("/jobs", json=body)).json()["job_id"]
    score = await jobs.client.execute("ZSCORE", keys.job_deadline(jobs.tag(job_id)), job_id)
    assert score is not None
    record = await jobs.get(job_id) or {}
    left_us = int(float(score)) - int(record["created_at"])
    assert 59_000_000 < left_us <= 60_000_000
    assert record["deadline_unix"] == str(int(float(score)))
    shown = (await as_person("bob").get(f"/approvals/{job_id}/context")).json()
    assert 0 < shown["time_remaining_ms"] <= 60_000
    assert (await as_person("bob").post(f"/approvals/{job_id}/approve", json={})).status_code == 200
    released = await jobs.get(job_id) or {}
    assert int(released["deadline_unix"]) > int(record["deadline_unix"])


async def test_approvers_see_and_leave_no_secrets(as_person: Person, jobs: JobStore) -> None:
    key = "AKIAQ3EGRT7MPLW5ZKJB"
    body = {
        "prompt": f"use {key}",
        "topic": "job.review",
        "context": {"rows": [f"k={key}"], "password": "x1"},
    }
    job_id = (await as_person("alice").post("/jobs", json=body)).json()["job_id"]
    bob = as_person("bob")
    (item,) = (await bob.get("/approvals")).json()["items"]
    shown = item["job_input"]
    assert (shown["prompt"], shown["context"]) == (
        "use [REDACTED]",
        {"rows": ["k=[REDACTED]"], "password": "[REDACTED]"},
    )
    context = (await bob.get(f"/approvals/{job_id}/context")).json()
    assert context["approval"]["job_input"] == shown
    note = {"reason": f"they use {key}", "note": "é" * 300}
    assert (await bob.post(f"/approvals/{job_id}/approve", json=note)).status_code == 200
    record = await jobs.get(job_id)
    assert record is not None
    assert record["approval_reason"] == "they use [REDACTED]"
    assert record["approval_note"] == "é" * 256


async def test_a_large_payload_is_not_shown_to_approvers(as_person: Person) -> None:
    body = {"prompt": "p", "topic": "job.review", "context": {"rows": ["x" * 1_000] * 400}}
    assert (await as_person("alice").post("/jobs", json=body)).status_code == 200
    (item,) = (await as_person("bob").get("/approvals")).json()["items"]
    assert "job_input" not in item
    assert item["context_ptr"].startswith("redis://ctx:")


async def test_an_approver_reads_in_short_what_is_asked_and_by_which_policy(
    as_person: Person, jobs: JobStore
) -> None:
    said = {
        "title": "Pay Initech",
        "amount": 12_000,
        "currency": "EUR",
        "items": [{"name": "invoice 7"}, "fee"],
    }
    body = {"prompt": "pay", "topic": "job.review", "capability": "payment.send", "context": said}
    job_id = (await as_person("alice").post("/jobs", json=body)).json()["job_id"]
    bob = as_person("bob")
    (item,) = (await bob.get("/approvals")).json()["items"]
    assert item["decision_summary"] == {
        "source": "job",
        "completeness": "partial",
        "context_status": "available",
        "title": "Pay Initech",
        "why": "a person decides",
        "next_effect": "a job on job.review is dispatched",
        "amount": 12_000,
        "currency": "EUR",
        "item_count": 2,
        "items_preview": ["invoice 7", "fee"],
        "missing_fields": ["why", "next_effect"],
    }
    assert item["policy_snapshot_summary"] == {
        "rule_count": 4,
        "policy_version": "1",
        "matched_rule": {
            "id": "hold-review",
            "description": "a person decides",
            "decision": "REQUIRE_APPROVAL",
            "constraints_summary": "",
        },
    }
    context = (await bob.get(f"/approvals/{job_id}/context")).json()
    assert context["policy_snapshot_summary"] == item["policy_snapshot_summary"]
    assert context["approval"] == item
    assert context["constraints"] is None
    # Of a policy that is no longer in force the number of rules is not known.
    record = await jobs.get(job_id)
    assert record is not None
    await jobs.client.execute("HSET", keys.job_meta(jobs.tag(job_id), job_id), "safety_snapshot", "cfg:0a")
    context = (await bob.get(f"/approvals/{job_id}/context")).json()
    assert "rule_count" not in context["policy_snapshot_summary"]
    assert context["policy_snapshot_summary"]["policy_version"] == ""


async def test_approvals_are_listed_while_no_kernel_answers(
    as_person: Person, orphan_gateway: GatewayProcess
) -> None:
    job_id = await held(as_person)
    async with client(orphan_gateway, "bob") as bob:
        (item,) = (await bob.get("/approvals")).json()["items"]
    assert item["job_id"] == job_id
    assert "rule_count" not in item["policy_snapshot_summary"]


async def test_pages_of_resolved_approvals_are_full(as_person: Person) -> None:
    bob, alice = as_person("bob"), as_person("alice")
    answered = []
    for _ in range(3):
        answered.append(await held(as_person))
        await bob.post(f"/approvals/{answered[-1]}/approve")
        for _ in range(2):
            assert (await alice.post("/jobs", json={"prompt": "p", "topic": "job.free"})).status_code == 200
    page = (await bob.get("/approvals?include_resolved=true&limit=2")).json()
    assert len(page["items"]) == 2
    rest = (await bob.get(f"/approvals?include_resolved=true&limit=2&cursor={page['next_cursor']}")).json()
    assert {item["job_id"] for item in page["items"] + rest["items"]} == set(answered)
    assert all(item["resolution"] == "approved" for item in page["items"])
