"""Saga duties step by step: whatever step a process dies at, every compensation runs once, newest first."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cordum._core import Planner, request_to_json
from cordum.audit import AuditChain, AuditWriter, ChainKeys
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage, PubOutcome
from cordum.bus.publisher import Publisher
from cordum.config.redis import StoreSettings
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobRequest
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler.compensation import Compensations
from cordum.scheduler.duties import Duties
from cordum.scheduler.fail_mode import FailModes
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.saga import Sagas
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.trail import Trail
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.breaker import CircuitBreaker
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record
from cordum.store.sagas import SagaStore
from tests.support.kernel import KernelProcess
from tests.support.observer import stored_messages

POLICY = """\
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: no-undo
    match: {topics: [job.undo.denied]}
    decision: deny
    reason: "stays as it is"
  - id: allow-undo
    match: {topics: [job.undo.*]}
    decision: allow
"""
RUN = "5f0c"


class Crash(Exception):
    """The process dies here."""


@dataclass
class Fuse:
    """Lets a number of steps pass and then kills; None: never."""

    left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Crash
            self.left -= 1


class MortalStore(SagaStore):
    """Dies before or after a step of the stack."""

    fuse: Fuse

    async def push_many(self, pushes: Any) -> Any:
        self.fuse.burn()
        answer = await super().push_many(pushes)
        self.fuse.burn()
        return answer

    async def pop(self, scope: str, tenant: str, token: str) -> tuple[str, bytes]:
        self.fuse.burn()
        answer = await super().pop(scope, tenant, token)
        self.fuse.burn()
        return answer

    async def done(self, scope: str, template: bytes) -> None:
        self.fuse.burn()
        await super().done(scope, template)
        self.fuse.burn()


class MortalPublisher(Publisher):
    """Dies before or after a publish."""

    fuse: Fuse

    async def publish_burst(
        self, messages: Sequence[OutMessage], *, atomic: bool = False
    ) -> list[PubOutcome]:
        self.fuse.burn()
        outcomes = await super().publish_burst(messages, atomic=atomic)
        self.fuse.burn()
        return outcomes


@dataclass
class House:
    """One scheduler's saga parts on real servers, and ways to die and start anew."""

    jobs: JobStore
    bus: Bus
    kernel: PolicyClient
    nats_url: str
    fuse: Fuse = field(default_factory=Fuse)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, fuse: Fuse | None = None) -> None:
        """Forget everything in memory, as a new process does."""
        redis = self.jobs.client
        self.fuse = fuse or Fuse()
        store, publisher = MortalStore(redis), MortalPublisher(self.bus)
        store.fuse = publisher.fuse = self.fuse
        blobs = BlobStore(redis, 3_600)
        documents = ConfigDocuments(redis)
        breaker = CircuitBreaker(redis, keys.BREAKER_SAFETY, monotonic_s)
        modes = FailModes(documents, "closed", production=True)
        trail = Trail(AuditWriter(AuditChain(redis, ChainKeys()), 100))
        safety = SafetyClient(self.kernel, breaker, blobs, modes, redis, trail)
        configs = EffectiveConfigs(documents, 1.0, monotonic_s)
        letters = DeadLetterStore(self.jobs)
        self.side = SideWrites(self.jobs, blobs)
        planner = Planner("s-1", self.jobs.partitions)
        duties = Duties(planner, self.jobs, letters, self.bus, publisher, self.side)
        compensations = Compensations(self.jobs, letters, blobs, safety, configs, publisher)
        self.sagas = Sagas(self.jobs, store, compensations, duties.perform)

    async def ended(self, job_id: str, duty: str, undo: str = "", run_id: str = RUN, **fields: str) -> Record:
        """Record a workflow's job that just ended and return it."""
        request = JobRequest(job_id=job_id, topic="job.do", workflow_id="trip", tenant_id="default")
        request.labels["run_id"] = run_id
        if undo:
            request.compensation.topic = undo
        change = {
            "id": job_id,
            "from": [""],
            "to": "SUCCEEDED" if duty == "saga" else "FAILED",
            "set": {"tenant": "default", "run_id": run_id, "workflow_id": "trip", "saga": "c", **fields},
            "req": request_to_json(request.SerializeToString()),
            "after": [duty],
        }
        await self.jobs.change("job_create", change, now_us=now_us())
        record = await self.jobs.get(job_id)
        assert record is not None
        return record

    async def perform(self, *records: Record) -> set[str]:
        """Perform the duties, dying and starting again wherever the fuse says."""
        return await self.sagas.perform(records)

    async def submitted(self) -> list[JobRequest]:
        """Return the submits in the stream."""
        return [packet.job_request for packet in await self.packets(subjects.SUBMIT)]

    async def packets(self, subject: str) -> list[BusPacket]:
        """Return what the stream holds of a subject."""
        messages = await stored_messages(self.nats_url, subjects.STREAM_SYS, subject)
        return [BusPacket.FromString(message.data) for message in messages]


@pytest.fixture(scope="module")
def undo_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """A kernel that lets things be undone, but for one."""
    kernel = KernelProcess(tmp_path_factory.mktemp("kernel"), POLICY)
    kernel.start()
    yield kernel
    kernel.stop()


@pytest.fixture
async def house(
    redis_client: RedisClient, bus: Bus, nats_url: str, undo_kernel: KernelProcess
) -> AsyncIterator[House]:
    client = PolicyClient(undo_kernel.address)
    yield House(await JobStore.open(redis_client, StoreSettings(partitions=4)), bus, client, nats_url)
    await client.close()


async def test_compensations_are_submitted_in_reverse_whatever_step_the_process_dies_at(house: House) -> None:
    steps = 0
    while True:
        run_id = f"run-{steps}"
        before = len(await house.submitted())
        house.restart(Fuse(steps))
        done = [await house.ended(f"{run_id}:{n}@1", "saga", f"job.undo.s{n}", run_id) for n in range(3)]
        failed = await house.ended(f"{run_id}:fail@1", "rollback", run_id=run_id)
        died = False
        try:
            for record in done:
                await house.perform(record)
            await house.perform(failed)
        except Crash:
            died = True
            await _unlock(house, run_id)
            house.restart()
            # What a sweep does with duties that are left: all of them, in the order of their jobs' ends.
            for record in [*done, failed]:
                assert record["id"] in await house.perform(record)
        submits = (await house.submitted())[before:]
        assert [submit.topic for submit in submits] == ["job.undo.s2", "job.undo.s1", "job.undo.s0"], steps
        assert len({submit.job_id for submit in submits}) == 3
        if not died:
            break
        steps += 1
    assert steps > 12


async def _unlock(house: House, run_id: str) -> None:
    """Do what two minutes do to the lock of a dead process."""
    await house.jobs.client.execute("DEL", keys.saga(run_id, "lock"))


async def test_a_compensation_is_a_recorded_job_of_its_own(house: House) -> None:
    await house.perform(await house.ended("a", "saga", "undo.a", trace_id="trace-1"))
    await house.perform(await house.ended("b", "rollback", trace_id="trace-1"))
    (submit,) = await house.submitted()
    assert submit.job_id.startswith("comp-")
    assert (submit.topic, submit.priority, submit.parent_job_id) == ("job.undo.a", 3, "a")
    assert submit.labels["saga_compensation"] == submit.env["is_compensation"] == "true"
    assert submit.labels["saga_workflow_id"] == "trip"
    record = await house.jobs.get(submit.job_id)
    assert record is not None
    assert (record["state"], record["saga"], record["trace_id"]) == ("PENDING", "x", "trace-1")
    assert await house.jobs.client.execute("ZSCORE", keys.tenant_open("default"), submit.job_id) is not None


async def test_one_run_does_not_undo_another_of_the_same_workflow(house: House) -> None:
    await house.perform(await house.ended("one", "saga", "job.undo.one", "run-a"))
    await house.perform(await house.ended("two", "saga", "job.undo.two", "run-b"))
    await house.perform(await house.ended("fail", "rollback", run_id="run-a"))
    assert [submit.parent_job_id for submit in await house.submitted()] == ["one"]


async def test_a_branch_that_ends_after_the_rollback_is_undone_too(house: House) -> None:
    await house.perform(await house.ended("early", "saga", "job.undo.early"))
    await house.perform(await house.ended("fail", "rollback"))
    assert await house.perform(await house.ended("late", "saga", "job.undo.late")) == {"late"}
    assert [submit.parent_job_id for submit in await house.submitted()] == ["early", "late"]


async def test_a_rollback_waits_for_the_one_that_runs(house: House) -> None:
    lock = SagaStore(house.jobs.client).lock(RUN)
    assert await lock.acquire()
    failed = await house.ended("fail", "rollback")
    assert await house.perform(failed) == set()
    assert await lock.release()
    assert await house.perform(failed) == {"fail"}


async def test_a_denied_compensation_is_a_dead_letter_and_the_rest_goes_on(house: House) -> None:
    for n, topic in enumerate(["job.undo.first", "job.undo.denied", "job.undo.last"]):
        await house.perform(await house.ended(f"j{n}", "saga", topic))
    assert await house.perform(await house.ended("fail", "rollback")) == {"fail"}
    assert [submit.topic for submit in await house.submitted()] == ["job.undo.last", "job.undo.first"]
    (entry,), _ = await DeadLetterStore(house.jobs).page("default")
    assert entry["reason_code"] == "saga_compensation_denied"
    assert (entry["reason"], entry["status"]) == ("safety: denied: stays as it is", "JOB_STATUS_FAILED_FATAL")
    record = await house.jobs.get(entry["job_id"])
    assert record is not None
    assert (record["state"], record.get("after")) == ("DENIED", None)
    events = await house.packets(subjects.DLQ)
    assert [(e.job_result.job_id, e.job_result.status) for e in events] == [(entry["job_id"], 11)]


async def test_an_unreadable_compensation_is_a_dead_letter_and_the_rest_goes_on(house: House) -> None:
    await house.perform(await house.ended("good", "saga", "job.undo.good"))
    await SagaStore(house.jobs.client).push_many([(RUN, "default", [("bad", b"\xff\xff")])])
    assert await house.perform(await house.ended("fail", "rollback")) == {"fail"}
    assert [submit.topic for submit in await house.submitted()] == ["job.undo.good"]
    (entry,), _ = await DeadLetterStore(house.jobs).page("default")
    assert (entry["reason_code"], entry["status"]) == ("saga_unmarshal_failed", "JOB_STATUS_FAILED_FATAL")


async def test_a_compensation_for_another_tenant_is_a_dead_letter(house: House) -> None:
    record = await house.ended("a", "saga", "job.undo.a")
    request = JobRequest(job_id="a", topic="job.do", workflow_id="trip", tenant_id="default")
    request.compensation.topic, request.compensation.tenant_id = "job.undo.a", "globex"
    key = keys.job_request(house.jobs.tag("a"), "a")
    await house.jobs.client.execute("SET", key, request_to_json(request.SerializeToString()))
    assert await house.perform(record) == {"a"}
    (entry,), _ = await DeadLetterStore(house.jobs).page("default")
    assert entry["reason_code"] == "saga_compensation_denied"
    assert "another tenant" in entry["reason"]


async def test_a_rollback_goes_on_while_the_kernel_is_away(
    house: House, tmp_path: Path, redis_client: RedisClient
) -> None:
    away = KernelProcess(tmp_path, POLICY)
    house.kernel = PolicyClient(away.address)
    house.restart()
    await house.perform(await house.ended("a", "saga", "job.undo.denied"))
    assert await house.perform(await house.ended("fail", "rollback")) == {"fail"}
    assert [submit.topic for submit in await house.submitted()] == ["job.undo.denied"]
    await house.kernel.close()
