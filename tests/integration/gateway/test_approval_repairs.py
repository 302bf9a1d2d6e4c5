"""Repairing approvals whose record and job disagree, and what an approver is shown (gateway spec §15.2, §15.4)."""

import re

import httpx
import orjson
from nats.aio.client import Client

from cordum.store import keys
from cordum.store.jobs import JobStore
from tests.integration.gateway.test_approvals import Person, held
from tests.integration.gateway.test_submit import stored_submits
from tests.support.gateway import GatewayProcess
from tests.support.processes import wait_until

PLAN = {
    *("job_id", "kind", "repairable", "reason", "current_state", "target_state", "approval_status"),
    *("actionability", "decision", "publish_target", "topic", "run_id", "request_hash"),
}
BODY = {
    *("job_id", "apply", "applied", "repairable", "state", "trace_id", "approval", "plan"),
    *("publish_deferred", "publish_error"),
}


async def damage(jobs: JobStore, job_id: str, **fields: str) -> None:
    """Leave a record as a crash of an older version might."""
    pairs = [part for pair in fields.items() for part in pair]
    await jobs.client.execute("HSET", keys.job_meta(jobs.tag(job_id), job_id), *pairs)


async def test_a_sound_approval_needs_no_repair(as_person: Person) -> None:
    job_id = await held(as_person)
    bob = as_person("bob")
    planned = await bob.post(f"/approvals/{job_id}/repair")
    assert planned.status_code == 200, planned.text
    assert (set(planned.json()), set(planned.json()["plan"])) == (BODY, PLAN)
    assert (planned.json()["plan"]["kind"], planned.json()["repairable"]) == ("none", False)
    refused = await bob.post(f"/approvals/{job_id}/repair", json={"apply": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_repairable")
    assert set(refused.json()) >= BODY
    missing = await bob.post("/approvals/nobody/repair")
    assert (missing.status_code, missing.json()["code"]) == (404, "approval_not_found")
    bad = await bob.post(f"/approvals/{job_id}/repair", json={"apply": "yes"})
    assert (bad.status_code, bad.json()["code"]) == (400, "approval_bad_request")


async def test_an_approval_that_stopped_half_way_is_finished(
    as_person: Person, jobs: JobStore, bus: Client
) -> None:
    job_id = await held(as_person)
    await damage(jobs, job_id, approval_decision="approve", approval_by="bob", approval_role="operator")
    bob = as_person("bob")
    planned = (await bob.post(f"/approvals/{job_id}/repair")).json()
    assert (planned["plan"]["kind"], planned["plan"]["target_state"]) == (
        "apply_approved_resolution",
        "PENDING",
    )
    assert (planned["apply"], planned["applied"], planned["state"]) == (False, False, "APPROVAL_REQUIRED")
    own = await as_person("alice").post(f"/approvals/{job_id}/repair", json={"apply": True})
    assert (own.status_code, own.json()["code"]) == (403, "self_approval_denied")
    done = await bob.post(f"/approvals/{job_id}/repair", json={"apply": True, "note": "as agreed"})
    assert done.status_code == 200, done.text
    assert (done.json()["applied"], done.json()["state"]) == (True, "PENDING")
    assert (done.json()["publish_deferred"], done.json()["publish_error"]) == (False, "")
    record = await jobs.get(job_id)
    assert record is not None
    assert (record["approval_status"], record["approval_note"]) == ("approved", "repair: as agreed")
    packets = await stored_submits(bus, job_id)
    labels = [packet.job_request.labels for packet in packets]
    assert [label["cordum.bus_msg_id"] for label in labels] == [f"approval:{job_id}"]
    assert labels[0]["approval_snapshot"] == record["safety_snapshot"]


async def test_a_rejection_that_stopped_half_way_ends_the_job(as_person: Person, jobs: JobStore) -> None:
    job_id = await held(as_person)
    await damage(jobs, job_id, approval_decision="reject", approval_by="bob", approval_reason="too much")
    bob = as_person("bob")
    done = await bob.post(f"/approvals/{job_id}/repair", json={"apply": True})
    assert (done.status_code, done.json()["state"]) == (200, "DENIED"), done.text
    letter = (await bob.get(f"/dlq/{job_id}")).json()
    assert (letter["reason_code"], letter["reason"]) == ("approval_rejected", "too much")


async def test_an_approval_that_was_not_published_is_published_again(
    as_person: Person, jobs: JobStore, bus: Client
) -> None:
    job_id = await held(as_person)
    bob = as_person("bob")
    await bob.post(f"/approvals/{job_id}/approve")
    planned = (await bob.post(f"/approvals/{job_id}/repair")).json()["plan"]
    assert (planned["kind"], planned["publish_target"]) == ("replay_pending_publish", "submit")
    done = await bob.post(f"/approvals/{job_id}/repair", json={"apply": True})
    assert done.json()["applied"], done.text
    record = await jobs.get(job_id)
    assert record is not None
    assert record["approval_publish_status"] == "published"
    # The stream keeps one copy: the message has the same id.
    assert len(await stored_submits(bus, job_id)) == 1


async def test_a_changed_request_is_invalidated(as_person: Person, jobs: JobStore) -> None:
    job_id = await held(as_person)
    key = keys.job_request(jobs.tag(job_id), job_id)
    request = orjson.loads(await jobs.request(job_id) or b"")
    await jobs.client.execute("SET", key, orjson.dumps({**request, "memoryId": "other"}))
    done = await as_person("bob").post(f"/approvals/{job_id}/repair", json={"apply": True})
    assert done.json()["plan"]["kind"] == "invalidate_stale_request"
    record = await jobs.get(job_id)
    assert record is not None
    assert (record["state"], record["approval_status"]) == ("DENIED", "invalidated")


async def test_nobody_decides_for_a_run_that_is_over(as_person: Person, jobs: JobStore) -> None:
    job_id = await held(as_person)
    await damage(jobs, job_id, topic="sys.approval.gate", run_id="r-1")
    await jobs.client.execute("HSET", keys.workflow_run("r-1"), "status", "cancelled")
    bob = as_person("bob")
    for verb in ("approve", "reject"):
        refused = await bob.post(f"/approvals/{job_id}/{verb}")
        assert (refused.status_code, refused.json()["code"]) == (409, "approval_terminal_run")
    done = await bob.post(f"/approvals/{job_id}/repair", json={"apply": True})
    assert (done.json()["plan"]["kind"], done.json()["state"]) == ("invalidate_terminal_run", "DENIED")


async def test_an_approver_is_shown_what_was_decided_before(as_person: Person) -> None:
    bob = as_person("bob")
    earlier = [await held(as_person) for _ in range(2)]
    await bob.post(f"/approvals/{earlier[0]}/approve")
    await bob.post(f"/approvals/{earlier[1]}/reject")
    job_id = await held(as_person)
    shown = (await bob.get(f"/approvals/{job_id}/context")).json()
    assert set(shown) >= {
        *("approval", "blast_radius", "prior_approvals", "rollback_hint"),
        *("policy_snapshot_summary", "time_remaining_ms", "constraints"),
    }
    assert shown["approval"]["job_id"] == job_id
    assert (shown["time_remaining_ms"], shown["constraints"]) == (None, None)
    prior = {one["job_id"]: one for one in shown["prior_approvals"]}
    assert {job: one["was_approved"] for job, one in prior.items() if job in earlier} == {
        earlier[0]: True,
        earlier[1]: False,
    }
    assert all(isinstance(one["resolved_at"], int) for one in prior.values())
    missing = await bob.get("/approvals/nobody/context")
    assert (missing.status_code, missing.json()["code"]) == (404, "approval_not_found")


async def test_answers_are_counted(as_person: Person, gateway: GatewayProcess) -> None:
    async def metrics_text() -> str:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics")).text

    def total(text: str, decision: str) -> float:
        found = re.search(rf'cordum_approval_decisions_total{{decision="{decision}"[^}}]*}} (\S+)', text)
        return float(found[1]) if found else 0.0

    before = await metrics_text()
    bob = as_person("bob")
    await bob.post(f"/approvals/{await held(as_person)}/approve")
    await bob.post(f"/approvals/{await held(as_person)}/reject")

    async def counted() -> bool:
        text = await metrics_text()
        return all(total(text, word) == total(before, word) + 1 for word in ("approved", "denied"))

    await wait_until(counted)
