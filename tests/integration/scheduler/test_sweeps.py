"""The reconciler row by row, in this process on real servers (scheduler spec §15, §16.2)."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from cap.heartbeat import heartbeat_payload

from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.bus.publisher import Publisher
from cordum.config.files import PoolsFile, ReconcilerTimeouts, TimeoutsFile, TopicTimeouts
from cordum.config.redis import StoreSettings
from cordum.domain.errors import Conflict
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.duties import Duties
from cordum.scheduler.job_locks import under_job_lock
from cordum.scheduler.lost import Departures, LostDispatches
from cordum.scheduler.moves import Moves
from cordum.scheduler.replayer import Replayer, StuckScheduled
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.timeouts import Timeouts
from cordum.scheduler.upkeep import Upkeep
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record
from cordum.store.locks import Lock
from cordum.telemetry import approvals
from tests.support.observer import stored_messages

TOPIC = "job.a"
S = 1_000_000


class Limits:
    """The part of the configuration the sweeps read."""

    def __init__(self) -> None:
        self.timeouts = TimeoutsFile(
            topics={TOPIC: TopicTimeouts(timeout_seconds=7, max_retries=1)},
            reconciler=ReconcilerTimeouts(dispatch_timeout_seconds=5),
        )

    dispatch_timeout_s = 5
    scheduled_timeout_s = 60
    retrying_timeout_s = 900


@dataclass
class Clock:
    """Time that only moves when it is told to."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class House:
    """The sweeps of one scheduler."""

    jobs: JobStore
    bus: Bus
    nats_url: str
    limits: Any = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.planner = Planner("s-1", self.jobs.partitions)
        pools = PoolsFile(topics={TOPIC: ("p",)})
        document = {
            "topics": pools.topics,
            "timeouts": {
                **self.limits.timeouts.reconciler.model_dump(),
                "topics": {TOPIC: {"timeout_seconds": 7, "max_retries": 1}},
            },
        }
        self.planner.configure(orjson.dumps(document))
        blobs = BlobStore(self.jobs.client, 3_600)
        self.side = SideWrites(self.jobs, blobs)
        letters = DeadLetterStore(self.jobs)
        duties = Duties(self.planner, self.jobs, letters, self.bus, Publisher(self.bus), self.side)
        self.duties = duties
        moves = Moves(self.planner, self.jobs, duties, self.side)
        self.timeouts = Timeouts(self.planner, self.jobs, moves, self.limits)
        self.stuck = StuckScheduled(self.jobs, moves, self.limits)
        self.replayer = Replayer(self.planner, self.jobs, self.limits)
        self.departures = Departures(30.0, self.clock)
        self.lost = LostDispatches(
            self.planner,
            self.jobs,
            moves,
            duties,
            self.side,
            EffectiveConfigs(ConfigDocuments(self.jobs.client), 30, monotonic_s),
            self.departures,
            lambda: True,
            lambda: 5,
        )

    async def put(self, job_id: str, state: str, *, age_s: float = 0, **change: Any) -> None:
        """Record a job that came into a state some time ago."""
        fields = {"topic": TOPIC, "tenant": "acme", **change.pop("set", {})}
        transition = {"id": job_id, "from": [""], "to": state, "set": fields, **change}
        at = now_us() - int(age_s * S)
        reply = await self.jobs.change("job_create", transition, now_us=at)
        assert reply[0] == b"moved"

    async def dispatched(self, job_id: str, worker_id: str, age_s: float, **change: Any) -> None:
        fields = {
            "worker_id": worker_id,
            "pool": "p",
            "dispatch_id": f"{job_id}:1:aa",
            "dispatch_subject": f"worker.{worker_id}.jobs" if worker_id else TOPIC,
            "attempts": "1",
            **change.pop("set", {}),
        }
        await self.put(job_id, "DISPATCHED", age_s=age_s, set=fields, **change)

    async def record(self, job_id: str) -> Record:
        record = await self.jobs.get(job_id)
        assert record is not None
        return record

    async def state(self, job_id: str) -> str:
        return (await self.record(job_id))["state"]

    def beat(self, worker_id: str, pool: str = "p") -> None:
        packet = BusPacket.FromString(heartbeat_payload(worker_id, pool, 0, 4, 0.0))
        packet.created_at.FromMicroseconds(now_us())
        self.planner.presence([packet.SerializeToString()], now_us())

    async def reason_code(self, job_id: str) -> str:
        entry = await DeadLetterStore(self.jobs).get(job_id)
        return "" if entry is None else str(entry["reason_code"])

    async def packets(self, subject: str) -> list[BusPacket]:
        messages = await stored_messages(self.nats_url, subjects.STREAM_SYS, subject)
        return [BusPacket.FromString(message.data) for message in messages]

    async def waits_for_wheel(self, job_id: str) -> bool:
        score = await self.jobs.client.execute("ZSCORE", keys.job_retry(self.jobs.tag(job_id)), job_id)
        return score is not None and float(score) <= now_us()


@pytest.fixture
async def house(redis_client: RedisClient, bus: Bus, nats_url: str) -> House:
    return House(
        await JobStore.open(redis_client, StoreSettings(partitions=4, dlq_max_size=8)), bus, nats_url
    )


async def test_a_dispatch_nobody_took_times_out_and_everybody_hears(house: House) -> None:
    heard: list[BusPacket] = []

    async def hear(message: Any) -> None:
        heard.append(BusPacket.FromString(message.data))

    await house.bus.client.subscribe(subjects.CANCEL, cb=hear)
    await house.dispatched("j", "gone", 6, due=now_us() - S)
    assert await house.timeouts.sweep_due() == {"dispatched": 1}
    record = await house.record("j")
    assert (record["state"], record["failure_reason"]) == ("TIMEOUT", "timeout: dispatched exceeded (5s)")
    assert "after" not in record
    assert await house.reason_code("j") == "timeout"
    for subject in (subjects.ACCEPTED, subjects.DLQ):
        (packet,) = await house.packets(subject)
        result = packet.job_result
        assert (result.status, result.error_code, result.error_code_enum) == (9, "timeout", 200)
        assert (result.worker_id, result.error_message) == ("cordum-scheduler", record["failure_reason"])
    await house.bus.client.flush()
    assert [(p.job_cancel.job_id, p.job_cancel.requested_by) for p in heard] == [("j", "cordum-scheduler")]


@pytest.mark.parametrize("worker_id", ["w", ""])
async def test_a_dispatch_a_living_worker_has_runs_instead(house: House, worker_id: str) -> None:
    house.beat("w")
    await house.dispatched("j", worker_id, 6, due=now_us() - S)
    await house.timeouts.sweep_due()
    assert await house.state("j") == "RUNNING"
    due = await house.jobs.client.execute("ZSCORE", keys.job_due(house.jobs.tag("j")), "j")
    assert 6 * S < float(due) - now_us() <= 7 * S


async def test_an_unconfirmed_dispatch_is_left_to_settling(house: House) -> None:
    await house.dispatched("j", "gone", 6, due=now_us() - S, disp=now_us() - 6 * S)
    assert await house.timeouts.sweep_due() == {}
    assert await house.state("j") == "DISPATCHED"


async def test_a_job_that_runs_too_long_times_out_with_its_topics_limit(house: House) -> None:
    await house.put("j", "RUNNING", age_s=8, due=now_us() - S)
    assert await house.timeouts.sweep_due() == {"running": 1}
    assert (await house.record("j"))["failure_reason"] == "timeout: running exceeded (7s)"


async def test_a_workflows_job_nobody_retried_fails_without_a_dead_letter(house: House) -> None:
    await house.put("j", "RETRYING", age_s=901, due=now_us() - S, set={"run_id": "r"})
    assert await house.timeouts.sweep_due() == {"retrying": 1}
    assert await house.state("j") == "FAILED"
    assert await house.reason_code("j") == ""
    (packet,) = await house.packets(subjects.ACCEPTED)
    assert packet.job_result.status == 6


async def test_a_result_that_waits_for_its_check_has_no_time_out(house: House) -> None:
    past = now_us() - S
    await house.put("j", "RUNNING", age_s=8, due=past, deadline=past, set={"pending_result": "x"})
    await house.timeouts.sweep_due()
    await house.timeouts.sweep_deadlines()
    assert await house.state("j") == "RUNNING"


async def test_a_passed_deadline_ends_an_approval_too(house: House) -> None:
    before = approvals.EXPIRED._value.get()
    past = now_us() - S
    await house.put("held", "APPROVAL_REQUIRED", deadline=past)
    await house.put("waits", "PENDING", deadline=past, retry=now_us() + 9 * S)
    assert await house.timeouts.sweep_deadlines() == {"approval_required": 1, "pending": 1}
    record = await house.record("held")
    assert (record["state"], record["failure_reason"]) == ("TIMEOUT", "timeout: deadline expired")
    assert (record["approval_status"], record["approval_decision"]) == ("expired", "expire")
    assert await house.state("waits") == "TIMEOUT"
    assert not await house.waits_for_wheel("waits")
    assert approvals.EXPIRED._value.get() == before + 1


async def test_many_late_jobs_end_in_one_sweep(house: House) -> None:
    for n in range(900):
        await house.put(f"j{n}", "RUNNING", age_s=8, due=now_us() - S)
    assert await house.timeouts.sweep_due() == {"running": 900}
    rows = await house.jobs.fields([f"j{n}" for n in range(900)], ("state",))
    assert {state for (state,) in rows} == {b"TIMEOUT"}


async def test_a_result_that_comes_first_wins(house: House) -> None:
    await house.put("j", "RUNNING", age_s=8, due=now_us() - S)
    stale = await house.record("j")
    await house.jobs.move({"id": "j", "from": ["RUNNING"], "to": "SUCCEEDED"}, now_us=now_us())
    moves = Moves(house.planner, house.jobs, house.lost._duties, house.side)
    assert await moves.time_out([stale], lambda _: "late") == set()
    assert await house.state("j") == "SUCCEEDED"


async def test_jobs_under_way_follow_changed_limits(house: House) -> None:
    far = now_us() + 900 * S
    await house.put("runs", "RUNNING", age_s=8, due=far)
    await house.dispatched("sent", "w", 6, due=far)
    assert await house.timeouts.follow_limits()
    assert not await house.timeouts.follow_limits()
    assert await house.timeouts.sweep_due() == {"running": 1, "dispatched": 1}


async def test_a_stuck_scheduled_job_is_fed_and_only_after_ten_minutes_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.put("stuck", "SCHEDULED", age_s=3_600)
    await house.put("parked", "SCHEDULED", age_s=3_600, retry=now_us() + 99 * S)
    await house.put("young", "SCHEDULED", age_s=59)
    assert await house.stuck.sweep() == 1
    assert await house.waits_for_wheel("stuck")
    assert await house.state("stuck") == "SCHEDULED"
    later = monotonic_s() + 601
    monkeypatch.setattr("cordum.scheduler.replayer.monotonic_s", lambda: later)
    assert await house.stuck.sweep() == 1
    record = await house.record("stuck")
    assert (record["state"], record["failure_reason"]) == ("TIMEOUT", "timeout: scheduled exceeded (60s)")
    assert await house.state("parked") == await house.state("young") == "SCHEDULED"
    assert await house.stuck.sweep() == 0


async def test_orphans_are_fed_and_parked_jobs_are_not(house: House) -> None:
    before = metrics.REPLAYED.labels(TOPIC)._value.get()
    await house.put("lost", "PENDING", age_s=121)
    await house.put("young", "PENDING", age_s=60)
    await house.put("parked", "PENDING", age_s=999, retry=now_us() + 99 * S)
    await house.put("approved", "PENDING", age_s=11, set={"approval_publish_status": "pending"})
    await house.put("retry", "RETRYING", age_s=901)
    await house.put("owned", "RETRYING", age_s=901, set={"run_id": "r"})
    assert await house.replayer.sweep() == 3
    fed = [
        name
        for name in ("lost", "young", "parked", "approved", "retry", "owned")
        if await house.waits_for_wheel(name)
    ]
    assert fed == ["lost", "approved", "retry"]
    assert metrics.REPLAYED.labels(TOPIC)._value.get() == before + 3
    assert await house.replayer.sweep() == 0


async def test_an_orphan_behind_many_parked_jobs_is_found(house: House) -> None:
    later = now_us() + 99 * S
    for n in range(900):
        await house.put(f"parked{n}", "PENDING", age_s=999, retry=later)
    await house.put("lost", "PENDING", age_s=500)
    assert await house.replayer.sweep() == 1
    assert await house.waits_for_wheel("lost")


async def test_lists_are_put_right(house: House) -> None:
    client = house.jobs.client
    await house.put("ended", "SUCCEEDED", age_s=99)
    await house.put("runs", "RUNNING", age_s=99)
    tag = house.jobs.tag
    for job_id in ("ended", "ghost"):
        await client.execute("ZADD", keys.job_index(tag(job_id), "running"), 5, job_id)
    await client.execute("ZREM", keys.job_index(tag("ended"), "succeeded"), "ended")
    await client.execute("SADD", keys.TENANTS, "acme")
    for key in (keys.tenant_active("acme"), keys.tenant_open("acme"), keys.tenant_recent("acme")):
        await client.execute("ZADD", key, 5, "ended", 5, "ghost", 5, "runs")
    await client.execute("ZADD", keys.dlq_tenant("acme"), 5, "ended")
    upkeep = Upkeep(house.jobs)
    for _ in range(12):
        await upkeep.sweep()

    async def listed(key: str) -> set[str]:
        return {member.decode() for member in await client.execute("ZRANGE", key, 0, -1)}

    assert await listed(keys.tenant_active("acme")) == await listed(keys.tenant_open("acme")) == {"runs"}
    assert await listed(keys.tenant_recent("acme")) == {"ended", "runs"}
    assert await listed(keys.dlq_tenant("acme")) == set()
    assert "ended" in await listed(keys.job_index(tag("ended"), "succeeded"))
    for job_id in ("ended", "ghost"):
        assert job_id not in await listed(keys.job_index(tag(job_id), "running"))
    assert "runs" in await listed(keys.job_index(tag("runs"), "running"))


async def test_indexes_of_final_states_and_the_dead_letters_are_trimmed(house: House) -> None:
    client = house.jobs.client
    week_s = house.jobs.settings.job_meta_ttl_s
    await house.put("old", "FAILED", age_s=week_s + 60)
    await house.put("new", "FAILED", age_s=week_s - 600)
    ids = [f"d{n}" for n in range(40)]
    for n, job_id in enumerate(ids):
        key = keys.dlq_index(house.jobs.tag(job_id))
        await client.execute("ZADD", key, n, job_id)
        await client.execute("SET", keys.dlq_entry(house.jobs.tag(job_id), job_id), "{}")
    await Upkeep(house.jobs).sweep()
    assert await client.execute("ZSCORE", keys.job_index(house.jobs.tag("old"), "failed"), "old") is None
    assert await client.execute("ZSCORE", keys.job_index(house.jobs.tag("new"), "failed"), "new") is not None
    sizes = [await client.execute("ZCARD", keys.dlq_index(tag)) for tag in house.jobs.tags]
    assert sizes == [2, 2, 2, 2]
    left = [i for i in ids if await client.execute("EXISTS", keys.dlq_entry(house.jobs.tag(i), i))]
    assert len(left) == 8


async def test_work_on_a_job_waits_for_its_lock_and_gives_it_back(redis_client: RedisClient) -> None:
    other = Lock(redis_client, keys.job_lock("j"), 0.2)
    assert await other.acquire()
    done: list[str] = []

    async def work() -> None:
        done.append("worked")

    assert await under_job_lock(redis_client, "j", work)
    assert done == ["worked"]
    assert await redis_client.execute("EXISTS", keys.job_lock("j")) == 0


async def test_work_on_a_job_that_stays_locked_is_not_done(redis_client: RedisClient) -> None:
    assert await Lock(redis_client, keys.job_lock("j"), 60).acquire()

    async def work() -> None:
        raise AssertionError("nobody may work on this job")

    assert not await under_job_lock(redis_client, "j", work)


async def test_work_whose_lock_is_lost_is_abandoned_and_the_lock_left_alone(
    redis_client: RedisClient,
) -> None:
    before = metrics.LOCK_ABANDONED._value.get()

    async def work() -> None:
        await redis_client.execute("SET", keys.job_lock("j"), "somebody else")
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        assert not await under_job_lock(redis_client, "j", work, ttl_s=0.3)
    assert metrics.LOCK_ABANDONED._value.get() == before + 1
    assert await redis_client.execute("GET", keys.job_lock("j")) == b"somebody else"


async def test_a_failure_of_the_work_is_its_callers(redis_client: RedisClient) -> None:
    async def work() -> None:
        raise Conflict("the job moved meanwhile")

    with pytest.raises(Conflict):
        await under_job_lock(redis_client, "j", work)
    assert await redis_client.execute("EXISTS", keys.job_lock("j")) == 0


@pytest.mark.parametrize(("state", "kept_s"), [("OUTPUT_QUARANTINED", 7 * 86_400), ("SUCCEEDED", 3_600)])
async def test_evidence_is_kept_for_a_week_whoever_finishes_its_job(
    house: House, state: str, kept_s: int
) -> None:
    await house.put("j", "PENDING")
    await BlobStore(house.jobs.client, 60).set_result("j", b"{}")
    move = {"id": "j", "from": ["PENDING"], "to": state, "after": ["result"]}
    assert (await house.jobs.move(move, now_us=now_us()))[0] == b"moved"
    await house.duties.perform(["j"])
    assert "after" not in await house.record("j")
    ttl_s = int(await house.jobs.client.execute("TTL", keys.result_blob("j")))
    assert kept_s - 60 < ttl_s <= kept_s


async def test_a_result_that_becomes_evidence_in_the_moment_it_is_kept_stays_evidence(house: House) -> None:
    await BlobStore(house.jobs.client, 60).set_result("j", b"{}")
    house.side.evidence_kept([keys.result_blob("j")])
    house.side.results_kept([keys.result_blob("j")])
    await house.side.flush()
    assert int(await house.jobs.client.execute("TTL", keys.result_blob("j"))) > 6 * 86_400
