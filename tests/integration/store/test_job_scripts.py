"""Job scripts as tables: state before, call, reply, state after (scheduler spec §2, §3, §30)."""

from typing import Any

import orjson
import pytest

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.integration.store.conftest import NOW, key_names, members

ID = "job-1"
DEAD = {
    "status": "JOB_STATUS_FAILED",
    "reason": "smtp 550",
    "reason_code": "smtp_reject",
    "created_at": "2026-03-01T09:50:00Z",
}


def created(**more: Any) -> dict[str, Any]:
    request = {"topic": "job.mail", "tenant": "acme", "req_hash": "h1"}
    base = {
        "id": ID,
        "from": [""],
        "to": "PENDING",
        "set": request,
        "req": b'{"jobId":"job-1","topic":"job.mail"}',
    }
    return base | {"events": ['{"ts":1,"state":"PENDING"}']} | more


def dispatched(**more: Any) -> dict[str, Any]:
    fields = {
        "worker_id": "w1",
        "pool": "mail",
        "dispatch_id": "job-1:1:aa",
        "dispatch_subject": "worker.w1.jobs",
    }
    base = {"id": ID, "from": ["", "PENDING", "SCHEDULED", "RETRYING"], "to": "DISPATCHED", "set": fields}
    return base | {"incr": {"attempts": 1}, "disp": NOW, "due": NOW + 300, "events": ["{}", "{}"]} | more


def ended(to: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    base = {"id": ID, "from": ["PENDING", "SCHEDULED", "DISPATCHED", "RUNNING", "RETRYING"], "to": to}
    return base | {"events": ["{}"]} | more


async def put(jobs: JobStore, *transitions: dict[str, Any]) -> list[Any]:
    """Apply transitions one after the other; the last reply."""
    reply: list[Any] = []
    for index, transition in enumerate(transitions):
        name = "job_create" if transition["from"] == [""] else "job_move"
        reply = await jobs.change(name, transition, now_us=NOW + index)
        assert reply[0] == b"moved"
    return reply


async def indexes(jobs: JobStore, job_id: str = ID) -> dict[str, int]:
    """Every zset that names a job, by short name, with the score."""
    tag = jobs.tag(job_id)
    found: dict[str, int] = {}
    for key in await key_names(jobs.client):
        if tag in key and (await jobs.client.execute("TYPE", key)) == b"zset":
            scores = await members(jobs.client, key)
            if job_id in scores:
                found[key.replace(f":{tag}", "")] = scores[job_id]
    return found


async def requested(jobs: JobStore) -> tuple[str, str]:
    """Return job id and topic of the stored request."""
    document = orjson.loads(await jobs.request(ID) or b"")
    return document["jobId"], document["topic"]


async def test_creating_a_job_writes_record_request_event_and_indexes(jobs: JobStore) -> None:
    reply = await jobs.change("job_create", created(), now_us=NOW)
    assert reply == [b"moved", b"PENDING", 1, 0, b"job.mail", b"acme", b"", str(NOW).encode(), b"", b"", b""]
    record = await jobs.get(ID)
    assert record == {
        "id": ID,
        "state": "PENDING",
        "rev": "1",
        "created_at": str(NOW),
        "updated_at": str(NOW),
        "topic": "job.mail",
        "tenant": "acme",
        "req_hash": "h1",
        "trace_id": ID,
    }
    assert await requested(jobs) == (ID, "job.mail")
    assert [event["state"] for event in await jobs.events(ID)] == ["PENDING"]
    assert await indexes(jobs) == {"job:index:pending": NOW, "job:recent": NOW}


@pytest.mark.parametrize("state", ["PENDING", "APPROVAL_REQUIRED", "DENIED", "FAILED"])
async def test_a_job_can_be_created_in_any_admission_state(jobs: JobStore, state: str) -> None:
    reply = await jobs.change("job_create", created(to=state), now_us=NOW)
    assert reply[:3] == [b"moved", state.encode(), 1]
    assert f"job:index:{state.lower()}" in await indexes(jobs)


@pytest.mark.parametrize(
    ("again", "why"), [({}, b"state"), ({"hash": "h1"}, b"state"), ({"hash": "other"}, b"request_hash")]
)
async def test_creating_a_job_twice_changes_nothing(
    jobs: JobStore, again: dict[str, str], why: bytes
) -> None:
    await put(jobs, created())
    before = await jobs.get(ID)
    reply = await jobs.change("job_create", created(set={"topic": "job.other"}, **again), now_us=NOW + 9)
    assert reply == [b"conflict", why, b"PENDING", 1]
    assert await jobs.get(ID) == before


async def test_a_dispatch_is_granted_once(jobs: JobStore) -> None:
    await put(jobs, created())
    first = await jobs.change("sched_commit", dispatched(attempt=1), now_us=NOW + 1)
    again = await jobs.change("sched_commit", dispatched(attempt=1), now_us=NOW + 2)
    assert first[:4] == [b"moved", b"DISPATCHED", 2, 1]
    assert first[6:] == [b"PENDING", str(NOW).encode(), b"w1", b"mail", b""]
    assert again == [b"conflict", b"state", b"DISPATCHED", 2]
    expected = {"job:index:dispatched": NOW + 1, "job:recent": NOW + 1, "job:disp": NOW, "job:due": NOW + 300}
    assert await indexes(jobs) == expected


async def test_a_job_that_came_by_the_bus_is_created_and_dispatched_in_one_step(jobs: JobStore) -> None:
    initial = {
        "init": {"topic": "job.mail", "tenant": "acme"},
        "init_req": b"{}",
        "init_events": ['{"ts":1}'],
    }
    reply = await jobs.change("sched_commit", dispatched(**initial), now_us=NOW)
    assert reply[:6] == [b"moved", b"DISPATCHED", 1, 1, b"job.mail", b"acme"]
    assert await jobs.request(ID) == b"{}"
    assert len(await jobs.events(ID)) == 3


async def test_a_second_submit_never_replaces_what_the_first_one_stored(jobs: JobStore) -> None:
    await put(jobs, created())
    await jobs.change(
        "sched_commit", dispatched(init={"topic": "job.evil"}, init_req=b"evil"), now_us=NOW + 1
    )
    record = await jobs.get(ID)
    assert record is not None
    assert record["topic"] == "job.mail"
    assert await requested(jobs) == (ID, "job.mail")


@pytest.mark.parametrize(
    ("fence", "reply"),
    [
        ({"rev": 1}, [b"conflict", b"rev", b"DISPATCHED", 2]),
        ({"rev": 2}, [b"moved"]),
        ({"hash": "h2"}, [b"conflict", b"request_hash", b"DISPATCHED", 2]),
        ({"attempt": 1}, [b"conflict", b"attempt", b"DISPATCHED", 2]),
        ({"attempt": 2}, [b"moved"]),
        ({"dispatch_id": "job-1:1:aa"}, [b"moved"]),
        ({"dispatch_id": "job-1:1:bb"}, [b"ignored", b"fence", b"DISPATCHED", 2]),
        ({"worker_id": "w1"}, [b"moved"]),
        ({"worker_id": "w2"}, [b"ignored", b"fence", b"DISPATCHED", 2]),
        ({"from": ["RUNNING"]}, [b"conflict", b"state", b"DISPATCHED", 2]),
    ],
)
async def test_a_fence_refuses_a_change_made_from_old_knowledge(
    jobs: JobStore, fence: dict[str, Any], reply: list[Any]
) -> None:
    await put(jobs, created(), dispatched())
    before = await jobs.get(ID)
    got = await jobs.change("job_move", ended() | fence, now_us=NOW + 5)
    assert got[: len(reply)] == reply
    if reply[0] != b"moved":
        assert await jobs.get(ID) == before


async def test_any_worker_of_a_pool_may_answer_a_pool_dispatch(jobs: JobStore) -> None:
    fields = {"dispatch_subject": "job.mail", "dispatch_id": "d"}
    await put(jobs, created(), dispatched(set=fields))
    assert (await jobs.change("result_commit", ended(worker_id="w9"), now_us=NOW + 5))[0] == b"moved"


async def test_an_approved_job_is_not_held_again(jobs: JobStore) -> None:
    await put(
        jobs,
        created(),
        {"id": ID, "from": ["PENDING"], "to": "PENDING", "set": {"approval_decision": "approve"}},
    )
    hold = {"id": ID, "from": ["PENDING"], "to": "APPROVAL_REQUIRED", "not_approved": True}
    assert await jobs.change("sched_commit", hold, now_us=NOW + 5) == [
        b"conflict",
        b"approved",
        b"PENDING",
        2,
    ]


@pytest.mark.parametrize("name", ["sched_commit", "job_move"])
async def test_a_change_of_an_absent_job_is_refused(jobs: JobStore, name: str) -> None:
    reply = await jobs.change(name, ended(), now_us=NOW)
    assert reply == [b"conflict", b"absent", b"", 0]
    assert await key_names(jobs.client) == {keys.JOB_LAYOUT}


async def test_a_result_of_an_absent_job_is_ignored(jobs: JobStore) -> None:
    assert await jobs.change("result_commit", ended(), now_us=NOW) == [b"ignored", b"absent", b"", 0]


@pytest.mark.parametrize("final", ["SUCCEEDED", "FAILED", "CANCELLED", "TIMEOUT"])
async def test_a_job_ends_once_and_leaves_every_schedule(jobs: JobStore, final: str) -> None:
    await put(jobs, created(), dispatched(deadline=NOW + 900))
    reply = await jobs.change("result_commit", ended(final, after=["result"]), now_us=NOW + 5)
    late = await jobs.change("result_commit", ended("FAILED"), now_us=NOW + 6)
    assert reply[:4] == [b"moved", final.encode(), 3, 1]
    assert late == [b"ignored", b"terminal", final.encode(), 3]
    assert await indexes(jobs) == {
        f"job:index:{final.lower()}": NOW + 5,
        "job:recent": NOW + 5,
        "job:after": NOW + 5,
    }
    record = await jobs.get(ID)
    assert record is not None
    assert "deadline_unix" not in record
    assert record["after"] == "result"


async def test_a_record_gets_its_ttl_only_when_it_ends(jobs: JobStore) -> None:
    tag = jobs.tag(ID)
    names = [
        keys.job_meta(tag, ID),
        keys.job_request(tag, ID),
        keys.job_events(tag, ID),
        keys.job_decisions(tag, ID),
    ]
    await put(jobs, created(decision="{}"), dispatched())
    assert [await jobs.client.execute("TTL", name) for name in names] == [-1] * 4
    await put(jobs, ended())
    ttls = [await jobs.client.execute("TTL", name) for name in names]
    assert all(604_700 < ttl <= 604_800 for ttl in ttls)


@pytest.mark.parametrize(
    ("final", "to", "allowed"),
    [
        ("SUCCEEDED", "OUTPUT_QUARANTINED", True),
        ("SUCCEEDED", "FAILED", False),
        ("CANCELLED", "PENDING", False),
    ],
)
async def test_a_final_state_is_left_only_for_quarantine(
    jobs: JobStore, final: str, to: str, allowed: bool
) -> None:
    await put(jobs, created(), ended(final))
    reply = await jobs.move({"id": ID, "from": [final], "to": to}, now_us=NOW + 9)
    assert (reply[0] == b"moved") is allowed
    assert f"job:index:{(to if allowed else final).lower()}" in await indexes(jobs)


async def test_a_parked_job_waits_for_its_pools_and_leaves_them_when_it_runs(jobs: JobStore) -> None:
    park = {
        "id": ID,
        "from": ["PENDING"],
        "to": "PENDING",
        "retry": NOW + 1000,
        "set": {"last_cause": "no_workers"},
    }
    await put(jobs, created(), park | {"wait": ["mail", "bulk"], "incr": {"route_failures": 1}})
    record = await jobs.get(ID)
    assert record is not None
    assert (record["next_attempt_at"], record["wait_pools"], record["route_failures"]) == (
        str(NOW + 1000),
        "mail,bulk",
        "1",
    )
    parked = await indexes(jobs)
    assert parked["job:retry"] == NOW + 1000
    assert {"job:wait:mail", "job:wait:bulk"} <= parked.keys()
    await put(jobs, park | {"wait": ["bulk"]})
    assert "job:wait:mail" not in await indexes(jobs)
    await put(jobs, dispatched())
    assert await indexes(jobs) == {
        "job:index:dispatched": NOW,
        "job:recent": NOW,
        "job:disp": NOW,
        "job:due": NOW + 300,
    }
    record = await jobs.get(ID)
    assert record is not None
    assert not {"next_attempt_at", "wait_pools", "last_cause"} & record.keys()


async def test_a_refresh_does_not_unpark_a_job(jobs: JobStore) -> None:
    refresh = {
        "id": ID,
        "from": ["PENDING"],
        "to": "PENDING",
        "set": {"approval_publish_status": "published"},
    }
    await put(jobs, created(retry=NOW + 1000), refresh)
    assert (await indexes(jobs))["job:retry"] == NOW + 1000
    await put(jobs, refresh | {"retry": 0})
    assert "job:retry" not in await indexes(jobs)


async def test_a_failed_publish_parks_the_job_with_the_same_attempt(jobs: JobStore) -> None:
    await put(jobs, created(), dispatched())
    rollback = {"id": ID, "from": ["DISPATCHED"], "to": "SCHEDULED", "dispatch_id": "job-1:1:aa", "due": 0}
    await put(jobs, rollback | {"retry": NOW + 50, "incr": {"rollbacks": 1, "route_failures": 1}})
    record = await jobs.get(ID)
    assert record is not None
    assert (record["attempts"], record["rollbacks"], record["route_failures"]) == ("1", "1", "1")
    assert await indexes(jobs) == {"job:index:scheduled": NOW, "job:recent": NOW, "job:retry": NOW + 50}


async def test_empty_values_and_named_fields_are_removed(jobs: JobStore) -> None:
    await put(jobs, created(set={"topic": "t", "team": "a", "memory_id": "m"}))
    change = {"id": ID, "from": ["PENDING"], "to": "PENDING", "set": {"team": ""}, "del": ["memory_id"]}
    await put(jobs, change)
    record = await jobs.get(ID)
    assert record is not None
    assert not {"team", "memory_id"} & record.keys()


async def test_an_equal_decision_replaces_the_head_and_only_fifty_are_kept(jobs: JobStore) -> None:
    await put(jobs, created(decision='{"decision":"DENY","checked_at":1}', decision_key="DENY"))
    refresh = {"id": ID, "from": ["PENDING"], "to": "PENDING"}
    await put(jobs, refresh | {"decision": '{"decision":"DENY","checked_at":2}', "decision_key": "DENY"})
    assert await jobs.decisions(ID) == [{"decision": "DENY", "checked_at": 2}]
    for number in range(55):
        await put(jobs, refresh | {"decision": f'{{"n":{number}}}', "decision_key": str(number)})
    found = await jobs.decisions(ID)
    assert len(found) == 50
    assert found[0] == {"n": 54}


async def test_duties_are_listed_until_they_are_cleared_at_the_same_rev(jobs: JobStore) -> None:
    await put(jobs, created(), ended("FAILED", after=["result", "dlq"]))
    await jobs.clear_after([(ID, 1)])
    assert "job:after" in await indexes(jobs)
    await jobs.clear_after([(ID, 2)])
    record = await jobs.get(ID)
    assert record is not None
    assert "after" not in record
    assert "job:after" not in await indexes(jobs)


async def test_a_dead_letter_is_completed_from_the_record(jobs: JobStore) -> None:
    await put(jobs, created(), dispatched(), ended("FAILED", dlq=DEAD))
    tag = jobs.tag(ID)
    raw = await jobs.client.execute("GET", keys.dlq_entry(tag, ID))
    assert orjson.loads(raw) == DEAD | {
        "job_id": ID,
        "topic": "job.mail",
        "tenant": "acme",
        "last_state": "FAILED",
        "attempts": 1,
    }
    assert await members(jobs.client, keys.dlq_index(tag)) == {ID: NOW // 1_000_000}
    assert 0 < await jobs.client.execute("TTL", keys.dlq_entry(tag, ID)) <= 30 * 86_400


async def test_dead_letters_and_recent_jobs_are_trimmed_oldest_first(jobs: JobStore) -> None:
    ids = [job_id for job_id in (f"t{n}" for n in range(200)) if jobs.partition(job_id) == 0][:15]
    for index, job_id in enumerate(ids):
        now = NOW + index * 1_000_000
        await jobs.change("job_create", created(id=job_id, to="DENIED", dlq=DEAD), now_us=now)
    assert list(await members(jobs.client, keys.dlq_index("{j00}"))) == ids[-3:]
    assert list(await members(jobs.client, keys.job_recent("{j00}"))) == ids[-10:]
    left = [key for key in await key_names(jobs.client) if key.startswith("dlq:entry:")]
    assert len(left) == 3


async def test_several_jobs_of_several_partitions_change_in_one_step(jobs: JobStore) -> None:
    ids = [f"m{n}" for n in range(40)]
    groups = [
        (partition, [jobs.pack(created(id=job_id)) for job_id in members_])
        for partition, members_ in jobs.by_partition(ids).items()
    ]
    replies = await jobs.apply("job_create", groups, now_us=NOW)
    assert len(groups) == 4
    assert all(reply[0] == b"moved" for group in replies for reply in group)
    assert all(record is not None for record in await jobs.get_many(ids))


async def test_the_same_job_twice_in_one_call_keeps_one_index_entry(jobs: JobStore) -> None:
    blobs = [jobs.pack(t) for t in (created(retry=NOW + 9), dispatched(), ended(), ended())]
    (replies,) = await jobs.apply("job_move", [(jobs.partition(ID), blobs)], now_us=NOW)
    assert [reply[0] for reply in replies] == [b"moved", b"moved", b"moved", b"conflict"]
    assert await indexes(jobs) == {"job:index:succeeded": NOW, "job:recent": NOW}


async def test_a_malformed_transition_leaves_nothing_half_done(jobs: JobStore) -> None:
    partition = jobs.partition(ID)
    (replies,) = await jobs.apply("job_create", [(partition, [jobs.pack(created()), b"\xc1"])], now_us=NOW)
    assert [reply[:2] for reply in replies] == [[b"error", b"refused"]] * 2
    assert await jobs.get(ID) is None


async def test_extra_commands_ride_in_the_same_step(jobs: JobStore, redis_client: RedisClient) -> None:
    group = (jobs.partition(ID), [jobs.pack(created())])
    extra = [("SADD", keys.trace("t1"), ID), ("ZADD", keys.trace("t1"), 1, ID)]
    (replies,) = await jobs.apply("job_create", [group], extra, now_us=NOW)
    assert replies[0][0] == b"moved"
    assert [record["id"] for record in await jobs.trace("t1")] == [ID]
