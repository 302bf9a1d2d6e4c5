"""Workers prove who they are by a credential (protocol spec §15.5; scheduler spec §7.2, §10, §19.1, §19.2)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from cap.handshake import publish_handshake
from nats.aio.client import Client

from cordum.bus.connection import Bus
from cordum.bus.publisher import Publisher
from cordum.gateway.packets import config_changed
from cordum.protocol import subjects
from cordum.store.blobs import BlobStore
from cordum.store.config_documents import ConfigDocuments
from cordum.store.jobs import JobStore
from tests.support.credentials import NOW, OTHER_TOKEN, TOKEN, store_credential
from tests.support.hand_worker import HandWorker
from tests.support.observer import DispatchObserver, connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import new_ids, open_bus, submit_message

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TOPICS = {"job.test.echo": "test", "job.test.other": "test", "job.test.apart": "apart"}
SUCCEEDED, FAILED = 5, 6


class _Scene:
    """A system without gateway, and eyes on what it dispatches."""

    def __init__(
        self, stack: Stack, jobs: JobStore, bus: Bus, client: Client, seen: DispatchObserver
    ) -> None:
        self.stack, self.jobs, self.bus, self.client, self.seen = stack, jobs, bus, client, seen

    def worker(self, worker_id: str, pool: str = "test", token: str = "") -> HandWorker:
        return HandWorker(self.client, BlobStore(self.jobs.client, 600), worker_id, pool, token)

    async def credential(self, worker_id: str, **members: Any) -> None:
        await store_credential(self.jobs.client, self.client, worker_id, **members)

    async def known(self) -> dict[str, dict[str, Any]]:
        raw = await self.jobs.client.execute("GET", "sys:workers:snapshot")
        return {worker["worker_id"]: worker for worker in orjson.loads(raw)["workers"]} if raw else {}

    async def beats_until(self, worker: HandWorker, **members: Any) -> None:
        """Send heartbeats until the worker is known with these members."""

        async def there() -> bool:
            await worker.beat()
            found = (await self.known()).get(worker.worker_id)
            return found is not None and all(found.get(name) == value for name, value in members.items())

        await wait_until(there, timeout_s=20, interval_s=0.1)

    async def submit(self, topic: str = "job.test.echo") -> str:
        (job_id,) = new_ids(1)
        (outcome,) = await Publisher(self.bus).publish_burst([submit_message(job_id, topic=topic)])
        assert outcome.ok
        return job_id

    async def dispatched(self, job_id: str) -> str:
        """Return the subject a job was dispatched on."""

        def found() -> str:
            return next((one.subject for one in self.seen.dispatches if one.job_id == job_id), "")

        subject: str = await wait_until(found)
        return subject

    async def state(self, job_id: str, *states: str) -> dict[str, str]:
        async def there() -> dict[str, str] | None:
            record = await self.jobs.get(job_id)
            return dict(record) if record is not None and record.get("state") in states else None

        record: dict[str, str] = await wait_until(there)
        return record

    async def metric(self, name: str, **labels: str) -> float:
        return await self.stack.schedulers[0].metric(name, **labels)

    async def failures(self, reason: str) -> float:
        return await self.metric("cordum_scheduler_attestation_failures_total", reason=reason)

    def log(self) -> list[dict[str, Any]]:
        lines = self.stack.schedulers[0].log_path.read_text().splitlines()
        return [orjson.loads(line) for line in lines if line.startswith("{")]


@asynccontextmanager
async def scene(folder: Path, **environment: str) -> AsyncIterator[_Scene]:
    options = StackOptions(gateway=False, topics=TOPICS, environment=environment)
    async with running_stack(folder, options) as stack, stack.store() as jobs:
        client = await connect(stack.nats.url)
        bus = await open_bus(stack.nats.url)
        async with DispatchObserver().watching(stack.nats.url) as seen:
            yield _Scene(stack, jobs, bus, client, seen)
        await bus.close()
        await client.close()


@pytest.mark.parametrize("mode", ["enforce"])
async def test_enforce_takes_only_heartbeats_that_prove_their_sender(tmp_path: Path, mode: str) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION=mode) as system:
        await system.credential("good", allowed_pools=("test",))
        await system.credential("gone", revoked_at=NOW)
        await system.credential("apart", allowed_pools=("apart",))
        refused = {
            "auth_token_missing": system.worker("good"),
            "credential_invalid": system.worker("good", token=OTHER_TOKEN),
            "pool_not_allowed": system.worker("apart", token=TOKEN),
        }
        for reason, worker in refused.items():

            async def counted(worker: HandWorker = worker, reason: str = reason) -> bool:
                await worker.beat()
                return await system.failures(reason) >= 1

            await wait_until(counted, timeout_s=20, interval_s=0.1)
        before = await system.failures("credential_invalid")
        for worker_id in ("gone", "unknown"):
            await system.worker(worker_id, token=TOKEN).beat()

        async def both() -> bool:
            return await system.failures("credential_invalid") >= before + 2

        await wait_until(both)
        job_id = await system.submit()
        good = system.worker("good", token=TOKEN)
        await system.beats_until(good)
        assert await system.dispatched(job_id) == "worker.good.jobs"
        assert set(await system.known()) == {"good"}
        told = [line for line in system.log() if line["msg"] == "attestation failed"]
        assert {line["reason"] for line in told} == set(refused)
        assert {line["level"] for line in told} == {"error"}
        assert not any(TOKEN in orjson.dumps(line).decode() for line in system.log())


async def test_a_handshake_alone_makes_nobody_a_worker_where_proof_is_asked(tmp_path: Path) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION="enforce") as system:
        await system.credential("good")
        await publish_handshake(system.client, "good", ready_topics=["job.test.apart"])
        await publish_handshake(system.client, "intruder", ready_topics=["job.test.apart"])
        good = system.worker("good", "", TOKEN)
        await system.beats_until(good, ready_topics=["job.test.apart"])
        assert set(await system.known()) == {"good"}
        assert await system.dispatched(await system.submit("job.test.apart")) == "worker.good.jobs"


async def test_only_results_of_attested_workers_end_a_job(tmp_path: Path) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION="enforce", SCHEDULER_WORKER_TTL="1s") as system:
        await system.credential("good")
        good = system.worker("good", token=TOKEN)
        await system.beats_until(good)
        job_id = await system.submit()
        await system.dispatched(job_id)
        dispatch = next(one for one in system.seen.dispatches if one.job_id == job_id)
        for sender in ("intruder", "api-gateway"):
            forged = system.worker(sender)
            await forged.report(job_id, FAILED, dispatch_id=dispatch.dispatch_id)

        async def refused() -> bool:
            return await system.metric("cordum_bus_rejected_packets_total", reason="not_attested") >= 1

        await wait_until(refused)
        record = await system.jobs.get(job_id)
        assert record is not None
        assert record["state"] in {"DISPATCHED", "RUNNING"}
        await system.beats_until(good)
        await good.work(dispatch)
        await good.report(job_id, SUCCEEDED, dispatch_id=dispatch.dispatch_id)
        await system.state(job_id, "SUCCEEDED")


async def test_results_that_wait_over_a_restart_are_those_of_attested_workers(tmp_path: Path) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION="enforce") as system:
        await system.credential("good")
        good = system.worker("good", token=TOKEN)
        await system.beats_until(good)
        job_id = await system.submit()
        await system.dispatched(job_id)
        dispatch = next(one for one in system.seen.dispatches if one.job_id == job_id)
        (scheduler,) = system.stack.schedulers
        scheduler.kill()
        await system.jobs.client.execute("DEL", "sys:workers:snapshot")
        await good.work(dispatch)
        await good.report(job_id, SUCCEEDED, dispatch_id=dispatch.dispatch_id)
        await scheduler.start()
        # Nobody knows the worker yet; its result waits for its next heartbeat.
        await system.beats_until(good)
        await system.state(job_id, "SUCCEEDED")


async def test_allowed_topics_narrow_what_a_proven_worker_gets(tmp_path: Path) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION="warn") as system:
        await system.credential("narrow", allowed_topics=("job.test.oth*", "job.test.other"))
        narrow = system.worker("narrow", token=TOKEN)
        await system.beats_until(narrow, allowed_topics=["job.test.oth*", "job.test.other"])
        waiting = await system.submit("job.test.echo")
        assert await system.dispatched(await system.submit("job.test.other")) == "worker.narrow.jobs"
        record = await system.jobs.get(waiting)
        assert record is not None
        assert record["state"] in {"PENDING", "SCHEDULED"}
        await system.credential("narrow", allowed_topics=("job.test.echo",))
        await system.beats_until(narrow, allowed_topics=["job.test.echo"])
        assert await system.dispatched(waiting) == "worker.narrow.jobs"


async def test_warn_takes_every_heartbeat_and_tells_of_those_without_proof(tmp_path: Path) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION="warn") as system:
        plain = system.worker("plain")
        await system.beats_until(plain)
        assert await system.dispatched(await system.submit()) == "worker.plain.jobs"
        (told,) = [line for line in system.log() if line["msg"] == "attestation failed"]
        assert (told["level"], told["worker_id"], told["reason"]) == (
            "warn",
            "plain",
            "auth_token_missing",
        )


async def test_a_revoked_worker_gets_nothing_more_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path, WORKER_ATTESTATION="enforce") as system:
        await system.credential("good")
        good = system.worker("good", token=TOKEN)
        await system.beats_until(good)
        await system.credential("good", revoked_at=NOW)

        async def withdrawn() -> bool:
            return "attested_age_ms" not in (await system.known())["good"]

        await wait_until(withdrawn)
        job_id = await system.submit()
        await system.state(job_id, "SCHEDULED", "PENDING")
        await system.credential("good", token=OTHER_TOKEN)
        renewed = system.worker("good", token=OTHER_TOKEN)

        async def attested_again() -> bool:
            await renewed.beat()
            return "attested_age_ms" in (await system.known()).get("good", {})

        await wait_until(attested_again, interval_s=0.1)
        assert await system.dispatched(job_id) == "worker.good.jobs"


async def test_attestation_can_be_switched_while_the_system_runs(tmp_path: Path) -> None:
    async with scene(tmp_path, SCHEDULER_WORKER_TTL="2s") as system:
        plain = system.worker("plain")
        await system.beats_until(plain)

        async def switch(mode: str) -> None:
            await ConfigDocuments(system.jobs.client).update(
                *("system", "default"),
                lambda found: {**found.data, "boundary": {"worker_attestation": mode}},
                updated_at=NOW,
            )
            await system.bus.publish_core(subjects.CONFIG_CHANGED, config_changed("system", "default"))

        await switch("enforce")

        async def refused() -> bool:
            await plain.beat()
            return await system.failures("auth_token_missing") >= 1

        await wait_until(refused, interval_s=0.1)
        job_id = await system.submit()
        await system.state(job_id, "SCHEDULED", "PENDING")
        await switch("off")

        async def handed_out() -> bool:
            await plain.beat()
            return any(one.job_id == job_id for one in system.seen.dispatches)

        await wait_until(handed_out, timeout_s=20, interval_s=0.1)
