"""Workers whose heartbeats are gone while they hold jobs (scheduler spec §15, row 2a)."""

from structlog.testing import capture_logs

from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from cordum.scheduler import metrics
from cordum.store import keys
from tests.integration.scheduler.test_sweeps import House, house

__all__ = ["house"]


async def test_a_lost_dispatch_is_retried_within_its_budget_and_then_times_out(house: House) -> None:
    before = metrics.LOST_DISPATCHES._value.get()
    await house.dispatched("again", "gone", 70)
    await house.dispatched("spent", "gone", 70, set={"attempts": "2"})
    await house.dispatched("owned", "gone", 70, set={"run_id": "r"})
    await house.dispatched("alive", "w", 70)
    await house.dispatched("topic", "", 70)
    house.beat("w")
    assert await house.lost.sweep() == 0, "nobody can be called silent yet"
    house.clock.now_s = 60
    assert await house.lost.sweep() == 3
    assert metrics.LOST_DISPATCHES._value.get() == before + 3
    record = await house.record("again")
    assert (record["state"], record["last_cause"]) == ("RETRYING", "worker_lost")
    assert int(record["next_attempt_at"]) > now_us()
    assert (await house.record("spent"))["failure_reason"] == "timeout: dispatched exceeded (5s)"
    owned = await house.record("owned")
    assert (owned["state"], "next_attempt_at" in owned) == ("RETRYING", False)
    assert await house.state("alive") == await house.state("topic") == "DISPATCHED"
    statuses = {p.job_result.job_id: p.job_result.status for p in await house.packets(subjects.ACCEPTED)}
    assert statuses == {"again": 10, "owned": 10, "spent": 9}


async def test_a_worker_that_stops_may_work_on_for_a_while(house: House) -> None:
    house.clock.now_s = 100
    await house.dispatched("j", "stops", 40)
    assert house.departures.left(["stops"]) == []
    house.clock.now_s = 129
    assert await house.lost.sweep() == 0
    house.clock.now_s = 130
    assert house.departures.left([]) == ["stops"]
    assert await house.lost.sweep() == 1


async def test_running_jobs_of_a_silent_worker_are_told_once_and_left_alone(house: House) -> None:
    for job_id, state in (("runs", "RUNNING"), ("over", "SUCCEEDED"), ("moved", "RUNNING")):
        worker = "other" if job_id == "moved" else "silent"
        await house.put(job_id, state, set={"worker_id": worker})
        house.side.assignments([("silent", job_id)])
    house.side.assignments([("back", "runs")])
    await house.side.flush()
    house.departures.left(["silent", "back", "idle"])
    house.clock.now_s = 130
    house.departures.left([])
    house.beat("back")
    with capture_logs() as logs:
        assert await house.lost.sweep() == 0
        assert await house.lost.sweep() == 0
    told = [entry for entry in logs if "silent worker" in entry["event"]]
    assert [(entry["log_level"], entry["worker_id"], entry["job_ids"]) for entry in told] == [
        ("warning", "silent", ["runs"])
    ]
    assert await house.state("runs") == "RUNNING"


async def test_who_was_deaf_calls_nobody_silent(house: House) -> None:
    house.clock.now_s = 100
    await house.dispatched("j", "gone", 70)
    await house.departures.deaf()
    house.clock.now_s = 159
    assert await house.lost.sweep() == 0
    house.clock.now_s = 160
    assert await house.lost.sweep() == 1


async def test_a_late_success_ends_the_retry_of_a_lost_dispatch(house: House) -> None:
    await house.dispatched("j", "gone", 70)
    house.clock.now_s = 60
    await house.lost.sweep()
    change = {
        "id": "j",
        "from": ["RETRYING"],
        "to": "SUCCEEDED",
        "dispatch_id": "j:1:aa",
        "after": ["result"],
    }
    reply = await house.jobs.change("result_commit", change, now_us=now_us())
    assert reply[0] == b"moved"
    record = await house.record("j")
    assert (record["state"], "next_attempt_at" in record) == ("SUCCEEDED", False)
    assert await house.jobs.client.execute("ZSCORE", keys.job_retry(house.jobs.tag("j")), "j") is None
