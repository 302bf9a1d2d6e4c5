"""Settling of unconfirmed dispatches, and jobs that move between two steps of a sweep (scheduler spec §15, §31.3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cordum._core import request_from_json, request_hash
from cordum.bus.connection import Bus
from cordum.bus.messages import FailureKind, PubOutcome
from cordum.bus.publisher import Publisher
from cordum.config.redis import StoreSettings
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler.outgoing import Outgoing
from cordum.scheduler.rollback import Undo, roll_back
from cordum.scheduler.settling import Settler
from cordum.store import keys
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.instances import Instances
from cordum.store.jobs import JobStore, Record
from cordum.store.sweeps import drop_due
from tests.integration.scheduler.test_sweeps import House, S
from tests.support.observer import stored_messages

REQUEST = b'{"jobId":"j","topic":"job.a","tenantId":"acme"}'
ALTERED = b'{"jobId":"j","topic":"job.a","tenantId":"acme","memoryId":"somebody-elses"}'


@pytest.fixture
async def house(redis_client: RedisClient, bus: Bus, nats_url: str) -> House:
    return House(await JobStore.open(redis_client, StoreSettings(partitions=4)), bus, nats_url)


def settler(house: House) -> Settler:
    return Settler(
        house.planner,
        house.jobs,
        Instances(house.jobs.client, "scheduler", "s-1", {}),
        house.bus,
        Publisher(house.bus),
        house.side,
        EffectiveConfigs(ConfigDocuments(house.jobs.client), 30, monotonic_s),
        "s-1",
    )


async def unconfirmed(house: House) -> None:
    """Record a dispatch of a scheduler that died before it published it."""
    then = now_us() - 20 * S
    fields = {
        "req_hash": request_hash(request_from_json(REQUEST)),
        "dispatched_by": "s-dead",
        "dispatched_at": str(then),
    }
    await house.dispatched("j", "w", 20, due=now_us() + 90 * S, disp=then, req=REQUEST, set=fields)


async def dispatches(house: House) -> list[BusPacket]:
    messages = await stored_messages(house.nats_url, subjects.STREAM_JOBS, "worker.w.jobs")
    return [BusPacket.FromString(message.data) for message in messages]


async def test_the_dispatch_of_a_dead_scheduler_is_published(house: House) -> None:
    await unconfirmed(house)
    assert await settler(house).sweep(leading=True) == 1
    (packet,) = await dispatches(house)
    assert packet.job_request.job_id == "j"
    assert (await house.record("j"))["dispatched_by"] == "s-1"


@pytest.mark.parametrize("stored", [ALTERED, b"no request"])
async def test_a_request_changed_after_it_was_judged_is_not_published_but_taken_back(
    house: House, stored: bytes
) -> None:
    await unconfirmed(house)
    await house.jobs.client.execute("SET", keys.job_request(house.jobs.tag("j"), "j"), stored)
    await settler(house).sweep(leading=True)
    assert await dispatches(house) == []
    record = await house.record("j")
    assert (record["state"], record["last_cause"], record["rollbacks"]) == (
        "SCHEDULED",
        "dispatch_failed",
        "1",
    )


def refused(dispatch_id: str, kind: FailureKind) -> list[tuple[Outgoing, PubOutcome]]:
    out = ("worker.w.jobs", b"", f"dispatch:{dispatch_id}", "j")
    return [(out, PubOutcome(ok=False, kind=kind))]


@pytest.mark.parametrize("kind", ["no_stream", "refused", "too_large"])
async def test_a_dispatch_somebody_else_took_over_is_not_taken_back(house: House, kind: FailureKind) -> None:
    """Its first publisher stood still after the broker refused it, and was taken for dead."""
    await unconfirmed(house)
    dispatch_id, rev = (await house.record("j"))["dispatch_id"], int((await house.record("j"))["rev"])
    assert await settler(house).sweep(leading=True) == 1
    undo = {"j": Undo("job.a", 0, rev)}
    assert await roll_back(house.planner, house.jobs, refused(dispatch_id, kind), undo, house.side) == []
    assert await house.state("j") == "DISPATCHED"


@pytest.mark.parametrize(
    ("kind", "state"), [("no_stream", "SCHEDULED"), ("refused", "SCHEDULED"), ("too_large", "FAILED")]
)
async def test_a_dispatch_nobody_took_over_is_taken_back(house: House, kind: FailureKind, state: str) -> None:
    await unconfirmed(house)
    record = await house.record("j")
    undo = {"j": Undo("job.a", 0, int(record["rev"]))}
    failed = refused(record["dispatch_id"], kind)
    ended = await roll_back(house.planner, house.jobs, failed, undo, house.side)
    assert ended == (["j"] if state == "FAILED" else [])
    after = await house.record("j")
    assert after["state"] == state
    # Its tenant lists it by this change.
    await house.side.flush()
    listed = await house.jobs.client.execute("ZSCORE", keys.tenant_recent(after["tenant"]), "j")
    assert int(float(listed)) == int(after["updated_at"]) > int(record["updated_at"])
    context = (await house.jobs.events("j"))[-1]["ctx"]
    if state == "FAILED":
        assert context["error_code"] == "payload_too_large"
        taken = (int(after["updated_at"]) - int(record["dispatched_at"])) // 1_000
        assert 0 <= taken - context["duration_ms"] <= 1_000


def moves_before_it_is_read(house: House, patch: pytest.MonkeyPatch, change: Mapping[str, Any]) -> None:
    """Apply a change between the look at an index and that at the records it names."""
    read = house.jobs.get_many

    async def moved(job_ids: Sequence[str]) -> list[Record | None]:
        patch.setattr(house.jobs, "get_many", read)
        await house.jobs.move({"id": "j", **change}, now_us=now_us())
        return await read(job_ids)

    patch.setattr(house.jobs, "get_many", moved)


async def test_a_job_that_began_to_run_meanwhile_is_not_timed_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.dispatched("j", "gone", 6, due=now_us() - S)
    moves_before_it_is_read(
        house, monkeypatch, {"from": ["DISPATCHED"], "to": "RUNNING", "due": now_us() + 7 * S}
    )
    assert await house.timeouts.sweep_due() == {}
    assert await house.state("j") == "RUNNING"


async def test_a_job_that_got_another_deadline_meanwhile_is_not_timed_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.put("j", "PENDING", deadline=now_us() - S)
    moves_before_it_is_read(
        house, monkeypatch, {"from": ["PENDING"], "to": "SCHEDULED", "deadline": now_us() + 9 * S}
    )
    assert await house.timeouts.sweep_deadlines() == {}
    assert await house.state("j") == "SCHEDULED"


async def test_only_stray_time_outs_are_dropped(house: House) -> None:
    due, past = keys.job_due(house.jobs.tag("j")), now_us() - S
    await house.put("j", "SCHEDULED")
    await house.jobs.client.execute("ZADD", due, past, "j")
    await drop_due(house.jobs, ["j"])
    assert await house.jobs.client.execute("ZSCORE", due, "j") is None
    await house.jobs.move(
        {"id": "j", "from": ["SCHEDULED"], "to": "DISPATCHED", "due": past}, now_us=now_us()
    )
    await drop_due(house.jobs, ["j"])
    assert await house.jobs.client.execute("ZSCORE", due, "j") is not None
