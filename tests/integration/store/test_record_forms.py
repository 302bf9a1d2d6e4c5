"""What records leave out, and how short forms read (scheduler spec §3)."""

import msgpack
import orjson
import pytest

from cordum._core import request_to_json
from cordum.protocol.cap import JobRequest
from cordum.store import keys
from cordum.store.job_sets import trace_commands
from cordum.store.jobs import JobStore
from tests.integration.store.conftest import NOW
from tests.integration.store.test_job_scripts import ID, created, dispatched, ended, put


async def test_a_job_that_is_simply_allowed_has_its_decision_in_the_record_alone(jobs: JobStore) -> None:
    safety = {"safety_decision": "ALLOW", "safety_rule_id": "r", "safety_checked_at": "7", "req_hash": "h1"}
    await put(jobs, created(), dispatched(plain="", set=safety))
    assert await jobs.client.execute("EXISTS", keys.job_decisions(jobs.tag(ID), ID)) == 0
    (decision,) = await jobs.decisions(ID)
    assert decision == {
        "decision": "ALLOW",
        "reason": "",
        "rule_id": "r",
        "policy_snapshot": "",
        "constraints": None,
        "remediations": None,
        "approval_required": False,
        "approval_ref": "",
        "job_hash": "h1",
        "checked_at": 7,
    }


async def test_a_decision_in_the_record_alone_is_listed_before_another_one(jobs: JobStore) -> None:
    await put(jobs, created(plain="", set={"safety_decision": "ALLOW", "safety_checked_at": "7"}))
    deny = {"decision": '{"decision":"DENY","checked_at":9}', "decision_key": "DENY"}
    refresh = {"id": ID, "from": ["PENDING"], "to": "PENDING"}
    after = {"set": {"safety_decision": "DENY", "safety_checked_at": "9"}}
    # Whoever has not seen the decision would lose it.
    lost = await jobs.change("job_move", refresh | deny | after, now_us=NOW + 1)
    assert lost[:2] == [b"conflict", b"rev"]
    stale = await jobs.change("job_move", refresh | {"plain": ""}, now_us=NOW + 1)
    assert stale[:2] == [b"conflict", b"rev"]
    before = {"decision_before": '{"decision":"ALLOW","checked_at":7}'}
    await put(jobs, refresh | deny | before | after)
    assert [entry["decision"] for entry in await jobs.decisions(ID)] == ["DENY", "ALLOW"]
    plain = await jobs.change("job_move", refresh | {"plain": "9"}, now_us=NOW + 1)
    assert plain[:2] == [b"conflict", b"rev"]


@pytest.mark.parametrize("worker_id", ["w1", ""])
async def test_a_finished_job_does_not_repeat_which_dispatch_it_was(jobs: JobStore, worker_id: str) -> None:
    subject = f"worker.{worker_id}.jobs" if worker_id else "job.mail"
    where = {"dispatch_id": f"{ID}:1:aa", "worker_id": worker_id, "dispatch_subject": subject}
    mine = {name: value for name, value in where.items() if value}
    await put(jobs, created(), dispatched(set=mine | {"dispatched_by": "s-1"}))
    await put(jobs, ended("SUCCEEDED", after=["result"]))
    key = keys.job_meta(jobs.tag(ID), ID)
    stored = await jobs.client.execute("HMGET", key, "dispatch_id", "dispatch_subject", "dispatched_by")
    assert stored == [b"aa", b"worker." if worker_id else b"job.mail", b"s-1"]
    record = await jobs.get(ID)
    assert record is not None
    assert record.items() >= mine.items()
    await jobs.clear_after([(ID, int(record["rev"]))])
    record = await jobs.get(ID)
    assert record is not None
    assert record.items() >= mine.items()
    assert not record.keys() & {"dispatched_by", "after"}


async def test_the_actor_is_the_principal_unless_another_is_named(jobs: JobStore) -> None:
    await put(jobs, created(set={"principal": "ann"}))
    await put(jobs, created(id="job-2", set={"principal": "ann", "actor_id": "bot"}))
    actors = [record["actor_id"] for record in await jobs.get_many([ID, "job-2"]) if record]
    assert actors == ["ann", "bot"]


async def test_a_job_that_goes_on_keeps_its_dispatch(jobs: JobStore) -> None:
    mine = {"dispatch_id": "job-1:1:aa", "dispatched_by": "s-1"}
    await put(jobs, created(), dispatched(set=mine), ended("RETRYING", after=["result"]))
    await jobs.duties_done([(ID, 3, ("result",))])
    record = await jobs.get(ID)
    assert record is not None
    assert record.items() >= mine.items()
    assert "after" not in record


async def test_a_request_is_short_in_the_store_and_whole_for_its_readers(jobs: JobStore) -> None:
    request = JobRequest(job_id=ID, topic="job.mail", tenant_id="acme", context_ptr=f"redis://ctx:{ID}")
    request.env["tenant_id"] = "acme"
    request.meta.tenant_id = "acme"
    text = request_to_json(request.SerializeToString())
    await put(jobs, created(req=text))
    stored = await jobs.client.execute("GET", keys.job_request(jobs.tag(ID), ID))
    assert len(stored) * 10 < len(text)
    assert await jobs.request(ID) == text


async def test_a_request_somebody_else_wrote_is_read_as_it_is(jobs: JobStore) -> None:
    await put(jobs, created())
    for text in (b'{"jobId":"other"}', b"{", b"\x80\xff", b""):
        await jobs.client.execute("SET", keys.job_request(jobs.tag(ID), ID), text)
        assert await jobs.request(ID) == text


async def test_events_in_every_form_read_alike(jobs: JobStore) -> None:
    events = [
        msgpack.packb([1, 0, {64: True}]),
        orjson.dumps({"ts": 2, "state": "SCHEDULED"}),
        b"3|DISPATCHED",
        msgpack.packb([4, 6, {3: "w", 9: True, 10: 5}]),
        b"damaged",
    ]
    fields = {"topic": "job.mail", "actor_id": "ann", "capability": "mail.send", "risk_tags": '["pii"]'}
    await put(jobs, created(events=[], set=fields))
    await jobs.client.execute("RPUSH", keys.job_events(jobs.tag(ID), ID), *events)
    asked = {"topic": "job.mail", "actor_id": "ann", "capabilities": ["mail.send"], "risk_tags": ["pii"]}
    result = {"worker_id": "w", "result_ptr": f"redis://res:{ID}", "duration_ms": 5}
    assert await jobs.events(ID) == [
        {"ts": 1, "state": "PENDING", "ctx": asked},
        {"ts": 2, "state": "SCHEDULED"},
        {"ts": 3, "state": "DISPATCHED"},
        {"ts": 4, "state": "SUCCEEDED", "ctx": result},
    ]


async def test_a_trace_has_the_job_it_is_named_after_and_those_that_joined(jobs: JobStore) -> None:
    await put(jobs, created())
    other = created(id="job-2", set={"trace_id": ID})
    await put(jobs, other)
    commands = trace_commands([(ID, ID), (ID, "job-2")])
    await jobs.client.pipeline(commands)
    assert await jobs.client.execute("SMEMBERS", keys.trace(ID)) == [b"job-2"]
    assert {record["id"] for record in await jobs.trace(ID)} == {ID, "job-2"}
    assert await jobs.trace("job-2") == []


async def test_the_agent_of_a_result_is_unlinked_unless_it_is_named(jobs: JobStore) -> None:
    await put(jobs, created(), dispatched(), ended("SUCCEEDED", set={"execution_ms": "1"}))
    record = await jobs.get(ID)
    assert record is not None
    assert record["agent_id"] == "unlinked"
    assert b"agent_id" not in await jobs.client.execute("HKEYS", keys.job_meta(jobs.tag(ID), ID))
