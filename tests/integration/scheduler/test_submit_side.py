"""Second submits, forged ones, and scarce workers shared between tenants (scheduler spec §4, §32)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from cap.heartbeat import emit_heartbeat, heartbeat_payload
from nats.aio.client import Client
from nats.aio.msg import Msg

from cordum.audit import AuditChain
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.gateway.packets import config_changed
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobRequest
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.config_documents import ConfigDocuments
from cordum.store.jobs import JobStore, Record
from cordum.store.schedule import parked_counts
from tests.support.hand_worker import HandWorker
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import new_ids, open_bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ECHO, REVIEW = "job.test.echo", "job.test.review"


class Floor:
    """A system without gateway; the test plays submitter and worker."""

    def __init__(self, stack: Stack, jobs: JobStore, bus: Bus, client: Client) -> None:
        self.stack = stack
        self.jobs = jobs
        self.dispatched: list[BusPacket] = []
        self.done: list[str] = []
        self.worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")
        self._bus = bus
        self._client = client

    async def on_dispatch(self, message: Msg) -> None:
        self.dispatched.append(BusPacket.FromString(message.data))

    async def beat(self, slots: int, active: int = 0) -> None:
        await emit_heartbeat(self._client, heartbeat_payload("hand", "test", active, slots, 0.0))

    async def submit(self, *requests: JobRequest) -> list[str]:
        """Publish submits of a client of the bus."""
        messages = []
        for request in requests:
            packet = BusPacket(trace_id="t", sender_id="client", protocol_version=1, job_request=request)
            packet.created_at.FromMicroseconds(now_us())
            payload = packet.SerializeToString(deterministic=True)
            messages.append(OutMessage(subjects.SUBMIT, payload, new_ids(1)[0]))
        outcomes = await Publisher(self._bus).publish_burst(messages)
        assert all(outcome.ok for outcome in outcomes)
        return [request.job_id for request in requests]

    async def write_config(self, data: dict[str, Any]) -> None:
        await ConfigDocuments(self.jobs.client).update(
            "system", "default", lambda found: {**found.data, **data}, updated_at="2026-01-01T00:00:00Z"
        )
        await self._bus.publish_core(subjects.CONFIG_CHANGED, config_changed("system", "default"))

    async def record(self, job_id: str, is_so: Callable[[Record], bool]) -> Record:
        async def holds() -> bool:
            record = await self.jobs.get(job_id)
            return record is not None and is_so(record)

        await wait_until(holds)
        record = await self.jobs.get(job_id)
        assert record is not None
        return record

    async def audited(self, tenant: str, event_type: str) -> dict[str, Any]:
        """Wait for an event of the tenant's chain and return it."""

        async def find() -> dict[str, Any] | None:
            async for stored in AuditChain(self.jobs.client).newest(tenant, 50):
                if stored.fields is not None and stored.fields["event_type"] == event_type:
                    return stored.fields
            return None

        async def there() -> bool:
            return await find() is not None

        await wait_until(there)
        event = await find()
        assert event is not None
        return event

    async def parked(self, count: int) -> None:
        async def so_many() -> bool:
            return sum((await parked_counts(self.jobs)).values()) == count

        await wait_until(so_many, timeout_s=30)

    async def work_through(self, count: int) -> list[str]:
        """Answer dispatches one after the other until ``count`` are; return the job ids of all answered, in order."""
        while len(self.done) < count:
            await wait_until(lambda: len(self.dispatched) > len(self.done), timeout_s=40)
            request = self.dispatched[len(self.done)].job_request
            await self.worker.report(request.job_id, 5, dispatch_id=request.dispatch.dispatch_id)
            self.done.append(request.job_id)
        return list(self.done)


@asynccontextmanager
async def _floor(folder: Path, schedulers: int = 1, **environment: str) -> AsyncIterator[Floor]:
    options = StackOptions(
        gateway=False,
        schedulers=schedulers,
        dispatch_timeout_s=60,
        scan_interval_s=5,
        environment=environment,
    )
    async with running_stack(folder, options) as stack, stack.store() as jobs:
        client, bus = await connect(stack.nats.url), await open_bus(stack.nats.url)
        floor = Floor(stack, jobs, bus, client)
        try:
            await client.subscribe("worker.>", cb=floor.on_dispatch)
            yield floor
        finally:
            await bus.close()
            await client.close()


def _jobs(tenant: str, count: int, priority: int = 1, topic: str = ECHO) -> list[JobRequest]:
    return [
        JobRequest(job_id=f"{tenant}-{job_id}", topic=topic, tenant_id=tenant, priority=priority)
        for job_id in new_ids(count)
    ]


async def test_what_a_second_submit_claims_changes_nothing_and_is_audited(tmp_path: Path) -> None:
    async with _floor(tmp_path) as floor:
        (request,) = _jobs("acme", 1)
        await floor.submit(request)
        before = await floor.record(request.job_id, lambda record: record.get("last_cause") == "no_workers")

        other = JobRequest.FromString(request.SerializeToString())
        other.labels["amount"] = "1000000"
        await floor.submit(other)
        event = await floor.audited("acme", "job.request_conflict")
        assert (event["severity"], event["job_id"]) == ("HIGH", request.job_id)
        assert event["extra"]["sender"] == "client"
        after = await floor.record(request.job_id, lambda record: True)
        assert after["req_hash"] == before["req_hash"]

        (held,) = _jobs("acme", 1, topic=REVIEW)
        await floor.submit(held)
        await floor.record(held.job_id, lambda record: record["state"] == "APPROVAL_REQUIRED")
        forged = JobRequest.FromString(held.SerializeToString())
        forged.labels["approval_granted"] = "true"
        await floor.submit(forged)
        event = await floor.audited("acme", "approval.revision_mismatch")
        assert (event["action"], event["job_id"]) == ("scheduler.approval_claim_reject", held.job_id)
        record = await floor.record(held.job_id, lambda record: True)
        assert record["state"] == "APPROVAL_REQUIRED"

        (forged,) = _jobs("acme", 1)
        forged.env["tenant_id"] = "globex"
        await floor.submit(forged)
        event = await floor.audited("acme", "safety.violation")
        assert event["job_id"] == forged.job_id
        assert await floor.jobs.get(forged.job_id) is None
        assert await floor.stack.schedulers[0].metric("cordum_validation_rejections_total") == 1


async def test_a_late_tenant_is_served_beside_a_flood(tmp_path: Path) -> None:
    async with _floor(tmp_path) as floor:
        await floor.beat(slots=2)
        await floor.submit(*_jobs("flooder", 120))
        await floor.parked(118)
        late = await floor.submit(*_jobs("late", 8))
        await floor.parked(126)
        done = await floor.work_through(60)
        places = [done.index(job_id) for job_id in late]
        # Two of the flood run already; from then on the tenants alternate.
        assert max(places) <= 28, places


async def test_weights_and_priorities_hold_without_a_restart(tmp_path: Path) -> None:
    async with _floor(tmp_path) as floor:
        await floor.write_config({"scheduler": {"tenant_weights": {"heavy": 3}}})
        log = floor.stack.schedulers[0]
        await wait_until(lambda: log.tail(200_000).count("routing loaded") == 2)
        await floor.beat(slots=2)
        await floor.submit(*_jobs("blocker", 2))
        await wait_until(lambda: len(floor.dispatched) == 2)
        light = await floor.submit(*_jobs("light", 40))
        await floor.parked(40)
        heavy = await floor.submit(*_jobs("heavy", 40, priority=2))
        await floor.parked(80)
        urgent = await floor.submit(*_jobs("heavy", 4, priority=3))
        await floor.parked(84)
        done = (await floor.work_through(34))[2:]
        shares = len(set(done) & {*heavy, *urgent}), len(set(done) & set(light))
        assert sum(shares) == 32
        assert 20 <= shares[0] <= 28, shares
        assert max(done.index(job_id) for job_id in urgent) <= 12


async def test_jobs_flow_when_a_worker_comes_online_and_that_is_told(tmp_path: Path) -> None:
    async with _floor(tmp_path) as floor:
        ids = await floor.submit(*_jobs("acme", 300))
        await floor.parked(300)
        await floor.beat(slots=0)
        await wait_until(lambda: len(floor.dispatched) == 300)
        assert {packet.job_request.job_id for packet in floor.dispatched} == set(ids)
        scheduler = floor.stack.schedulers[0]

        async def counted() -> bool:
            return (
                await scheduler.metric("cordum_scheduler_dispatch_flush_on_worker_online_total", pool="test")
                == 1
            )

        await wait_until(counted)
        told = [line for line in scheduler.tail(100_000).splitlines() if "flush on worker online" in line]
        assert (
            orjson.loads(told[0]).items() >= {"pool": "test", "trace_id": "hand", "worker_id": "hand"}.items()
        )
        assert await scheduler.metric("cordum_jobs_received_total") == 300


async def test_too_many_parked_jobs_stop_submits_and_nothing_else(tmp_path: Path) -> None:
    async with _floor(tmp_path, SCHEDULER_MAX_PARKED="40", SCHEDULER_BATCH_MAX="32") as floor:
        await floor.beat(slots=1)
        first = await floor.submit(*_jobs("acme", 61))
        scheduler = floor.stack.schedulers[0]

        async def full() -> bool:
            return await scheduler.metric("cordum_scheduler_parked_jobs", cause="pool_overloaded") == 60

        await wait_until(full)
        await wait_until(lambda: "no submits are taken" in scheduler.tail(100_000))
        late = await floor.submit(*_jobs("late", 5))
        done = await floor.work_through(15)
        assert set(done) <= set(first), "results and waiting jobs go on, new ones are not taken"
        assert [await floor.jobs.get(job_id) for job_id in late] == [None] * 5
        assert set(late) <= set(await floor.work_through(66))


async def test_replicas_share_the_wheel_and_count_each_other(tmp_path: Path) -> None:
    async with _floor(tmp_path, schedulers=2) as floor:
        ids = await floor.submit(*_jobs("acme", 200))
        await floor.parked(200)
        live = await floor.jobs.client.execute("ZCARD", "cordum:instances:scheduler")
        assert live == 2
        await floor.beat(slots=0)
        await wait_until(lambda: len(floor.dispatched) >= 200, timeout_s=40)
        assert {packet.job_request.job_id for packet in floor.dispatched} == set(ids)
        assert len(floor.dispatched) == 200, "no job was dispatched by both"


async def test_the_series_of_a_pool_ends_when_it_becomes_inactive(tmp_path: Path) -> None:
    async with _floor(tmp_path, SCHEDULER_CONFIG_RELOAD_INTERVAL="1s") as floor:
        await floor.beat(slots=2)
        scheduler = floor.stack.schedulers[0]

        async def shown() -> bool:
            return await scheduler.metric("cordum_last_heartbeat_timestamp", pool="test") > 0

        await wait_until(shown)
        assert await scheduler.metric("cordum_scheduler_worker_heartbeat_age_seconds", worker_id="hand") < 20
        section = {"topics": {ECHO: ["test"]}, "pools": {"test": {"status": "inactive"}}}
        await floor.write_config({"pools": section})

        async def ended() -> bool:
            return await scheduler.metric("cordum_last_heartbeat_timestamp", pool="test") == 0

        await wait_until(ended)
        (job,) = await floor.submit(*_jobs("acme", 1))
        await floor.record(job, lambda record: record.get("last_cause") == "no_pool_mapping")


async def test_changed_time_outs_apply_to_jobs_under_way(tmp_path: Path) -> None:
    async with _floor(tmp_path, SCHEDULER_CONFIG_RELOAD_INTERVAL="1s") as floor:
        await floor.beat(slots=2)
        (job,) = await floor.submit(*_jobs("acme", 1))
        record = await floor.record(job, lambda record: record["state"] == "DISPATCHED")

        async def due() -> int:
            key = keys.job_due(floor.jobs.tag(job))
            return int(float(await floor.jobs.client.execute("ZSCORE", key, job)))

        assert await due() == int(record["dispatched_at"]) + 60_000_000
        await floor.write_config(
            {"timeouts": {"reconciler": {"dispatch_timeout_seconds": 77, "scan_interval_seconds": 1}}}
        )

        async def follows() -> bool:
            return await due() == int(record["dispatched_at"]) + 77_000_000

        await wait_until(follows)
