"""Sagas of a running system: two runs, a late branch, a scheduler that is killed meanwhile (scheduler spec §14)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.aio.client import Client

from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobRequest
from cordum.runtime.clock import now_us
from cordum.store.blobs import BlobStore
from cordum.store.jobs import JobStore
from tests.support.hand_worker import HandWorker
from tests.support.observer import DispatchObserver, SeenDispatch, connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import TEST_TOPIC, open_bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

UNDO = "job.test.undo"
SUCCEEDED, FATAL = 5, 11


@dataclass
class Engine:
    """Plays the workflow engine and the worker."""

    stack: Stack
    jobs: JobStore
    publisher: Publisher
    observer: DispatchObserver
    worker: HandWorker

    async def start(self, run_id: str, step: str, *, undo: bool = True) -> SeenDispatch:
        """Submit a step of a run and return its dispatch."""
        job_id = f"{run_id}:{step}@1"
        request = JobRequest(job_id=job_id, topic=TEST_TOPIC, tenant_id="default", workflow_id="trip")
        request.labels.update({"run_id": run_id, "step_id": step})
        if undo:
            request.compensation.topic = UNDO
        packet = BusPacket(
            trace_id=run_id, sender_id="workflow-engine", protocol_version=1, job_request=request
        )
        packet.created_at.FromMicroseconds(now_us())
        message = OutMessage(subjects.SUBMIT, packet.SerializeToString(), f"jobreq:{job_id}")
        assert (await self.publisher.publish_burst([message]))[0].ok
        return await self.dispatched(job_id)

    async def dispatched(self, job_id: str) -> SeenDispatch:
        found: list[SeenDispatch] = []

        def seen() -> bool:
            found[:] = [dispatch for dispatch in self.observer.dispatches if dispatch.job_id == job_id]
            return bool(found)

        await wait_until(seen)
        return found[0]

    async def end(self, dispatch: SeenDispatch, status: int) -> None:
        """Report a dispatch."""
        await self.worker.report(dispatch.job_id, status, dispatch_id=dispatch.dispatch_id)

    async def undone(self, *steps: str, timeout_s: float = 30.0) -> list[str]:
        """Wait until the compensations of these jobs were dispatched; return whose were, in order."""

        async def enough() -> bool:
            return len(await self._undone()) >= len(steps)

        await wait_until(enough, timeout_s=timeout_s)
        return await self._undone()

    async def _undone(self) -> list[str]:
        ids = [seen.job_id for seen in self.observer.dispatches if seen.job_id.startswith("comp-")]
        parents = []
        for job_id in ids:
            request = await self.jobs.request(job_id)
            assert request is not None
            parents.append(request.decode().partition('"parentJobId":"')[2].partition('"')[0])
        return parents

    async def remembered(self, run_id: str, count: int) -> None:
        """Wait until a run's stack holds ``count`` compensations."""

        async def there() -> bool:
            return bool(await self.jobs.client.execute("LLEN", f"saga:{{{run_id}}}:stack") == count)

        await wait_until(there)


@asynccontextmanager
async def engine(folder: Path, schedulers: int = 1) -> AsyncIterator[Engine]:
    options = StackOptions(schedulers=schedulers, gateway=False, topics={TEST_TOPIC: "test", UNDO: "test"})
    async with running_stack(folder, options) as stack, stack.store() as jobs:
        client: Client = await connect(stack.nats.url)
        bus = await open_bus(stack.nats.url)
        observer = DispatchObserver()
        try:
            async with observer.watching(stack.nats.url):
                worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")
                await worker.announce(TEST_TOPIC, UNDO)
                yield Engine(stack, jobs, Publisher(bus), observer, worker)
        finally:
            await bus.close()
            await client.close()


async def test_a_fatal_failure_undoes_its_own_run_in_reverse_and_late_branches_too(tmp_path: Path) -> None:
    async with engine(tmp_path) as here:
        first, second, late = [await here.start("run-a", step) for step in ("book", "pay", "mail")]
        other = await here.start("run-b", "book")
        for number, dispatch in enumerate((first, second), start=1):
            await here.end(dispatch, SUCCEEDED)
            await here.remembered("run-a", number)
        await here.end(other, SUCCEEDED)
        await here.remembered("run-b", 1)
        failing = await here.start("run-a", "ship", undo=False)
        await here.end(failing, FATAL)
        assert await here.undone("pay", "book") == ["run-a:pay@1", "run-a:book@1"]
        await here.end(late, SUCCEEDED)
        assert (await here.undone("pay", "book", "mail"))[-1] == "run-a:mail@1"
        await here.remembered("run-b", 1)
        scheduler = here.stack.schedulers[0]
        assert await scheduler.metric("cordum_saga_recorded_total") == 4
        assert await scheduler.metric("cordum_saga_compensation_dispatched_total") == 3
        assert await scheduler.metric("cordum_saga_rollbacks_total") == 2
        assert await scheduler.metric("cordum_saga_rollback_duration_seconds_count") == 2
        assert await scheduler.metric("cordum_saga_active") == 0


async def test_a_compensation_that_fails_is_counted_and_undoes_nothing(tmp_path: Path) -> None:
    async with engine(tmp_path) as here:
        await here.end(await here.start("run-a", "book"), SUCCEEDED)
        await here.remembered("run-a", 1)
        await here.end(await here.start("run-a", "ship", undo=False), FATAL)
        await here.undone("book")
        (undoing,) = [seen for seen in here.observer.dispatches if seen.job_id.startswith("comp-")]
        await here.end(undoing, FATAL)

        async def counted() -> bool:
            metric = await here.stack.schedulers[0].metric("cordum_saga_compensation_failed_total")
            return metric == 1

        await wait_until(counted)
        record = await here.jobs.get(undoing.job_id)
        assert record is not None
        assert record["state"] == "FAILED"


async def test_a_rollback_outlives_the_scheduler_that_began_it(tmp_path: Path) -> None:
    async with engine(tmp_path, schedulers=2) as here:
        for number, step in enumerate(("a", "b", "c"), start=1):
            await here.end(await here.start("run-a", step), SUCCEEDED)
            await here.remembered("run-a", number)
        failing = await here.start("run-a", "ship", undo=False)
        for scheduler in here.stack.schedulers:
            scheduler.pause()
        await here.end(failing, FATAL)
        here.stack.schedulers[0].kill()
        here.stack.schedulers[1].proceed()
        assert await here.undone("c", "b", "a", timeout_s=60) == [f"run-a:{step}@1" for step in "cba"]
        record = await here.jobs.get(failing.job_id)
        assert record is not None
        assert record["state"] == "FAILED"
