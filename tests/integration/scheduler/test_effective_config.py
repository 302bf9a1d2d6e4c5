"""The effective configuration of a job restricts it and travels with it (scheduler spec §5, protocol spec §22)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.aio.msg import Msg

from cordum.bus.connection import Bus
from cordum.bus.publisher import Publisher
from cordum.gateway.packets import config_changed
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.store.blobs import BlobStore
from cordum.store.config_documents import ConfigDocuments
from cordum.store.jobs import JobStore
from tests.support.hand_worker import HandWorker
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import new_ids, open_bus, submit_message

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class _Scene:
    """A running system without gateway, one worker, and the environments of the jobs handed to it."""

    def __init__(self, jobs: JobStore, bus: Bus, environments: dict[str, dict[str, str]]) -> None:
        self.jobs = jobs
        self.environments = environments
        self._bus = bus

    async def write(self, scope: str, scope_id: str, data: dict[str, Any]) -> None:
        """Store a document and say so, as the gateway does."""
        documents = ConfigDocuments(self.jobs.client)
        await documents.update(
            scope, scope_id, lambda found: {**found.data, **data}, updated_at="2026-01-01T00:00:00Z"
        )
        await self._bus.publish_core(subjects.CONFIG_CHANGED, config_changed(scope, scope_id))

    async def submit(self) -> str:
        """Submit a job on the bus; return its id."""
        (job_id,) = new_ids(1)
        (outcome,) = await Publisher(self._bus).publish_burst([submit_message(job_id)])
        assert outcome.ok
        return job_id

    async def ended_as(self, job_id: str, *states: str) -> dict[str, str]:
        """Return the record of a job once it is in one of ``states``."""

        async def there() -> bool:
            record = await self.jobs.get(job_id)
            return record is not None and record.get("state") in states

        await wait_until(there)
        record = await self.jobs.get(job_id)
        assert record is not None
        return dict(record)

    async def environment(self, job_id: str) -> dict[str, str]:
        """Return the environment a job was dispatched with."""

        async def seen() -> bool:
            return job_id in self.environments

        await wait_until(seen)
        return self.environments[job_id]


@asynccontextmanager
async def _scene(stack: Stack) -> AsyncIterator[_Scene]:
    environments: dict[str, dict[str, str]] = {}

    async def on_dispatch(message: Msg) -> None:
        request = BusPacket.FromString(message.data).job_request
        environments[request.job_id] = dict(request.env)

    async with stack.store() as jobs:
        client, bus = await connect(stack.nats.url), await open_bus(stack.nats.url)
        try:
            for subject in ("job.>", "worker.>"):
                await client.subscribe(subject, cb=on_dispatch)
            worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")
            await worker.announce("job.test.echo")
            yield _Scene(jobs, bus, environments)
        finally:
            await bus.close()
            await client.close()


async def test_a_job_carries_its_configuration_and_a_change_denies_the_next_one(tmp_path: Path) -> None:
    async with running_stack(tmp_path, StackOptions(gateway=False)) as stack, _scene(stack) as scene:
        await scene.write("org", "default", {"models": {"default_model": "small", "api_key": "hunter2"}})
        first = await scene.environment(await scene.submit())
        document = orjson.loads(first["CORDUM_EFFECTIVE_CONFIG"])
        assert document["data"]["models"] == {"default_model": "small"}
        assert document["version"].split("|")[1] == "org:1"
        assert "pools" not in document["data"]

        await scene.write("org", "default", {"safety": {"denied_topics": ["job.test.*"]}})
        denied = await scene.ended_as(await scene.submit(), "DENIED", "DISPATCHED")
        assert denied["state"] == "DENIED"
        assert denied["safety_reason"] == "topic 'job.test.echo' denied by effective config"


async def test_a_large_configuration_travels_by_pointer(tmp_path: Path) -> None:
    async with running_stack(tmp_path, StackOptions(gateway=False)) as stack, _scene(stack) as scene:
        await scene.write("org", "default", {"models": {"notes": "n" * 600_000}})
        job_id = await scene.submit()
        environment = await scene.environment(job_id)
        assert environment["CORDUM_EFFECTIVE_CONFIG_PTR"] == f"redis://ctx:{job_id}:config"
        assert "CORDUM_EFFECTIVE_CONFIG" not in environment
        stored = await BlobStore(scene.jobs.client, 600).get(f"ctx:{job_id}:config")
        assert stored is not None
        assert len(orjson.loads(stored)["data"]["models"]["notes"]) == 600_000


async def test_a_document_nobody_can_read_denies_the_jobs_of_its_tenant(tmp_path: Path) -> None:
    async with running_stack(tmp_path, StackOptions(gateway=False)) as stack, _scene(stack) as scene:
        await scene.jobs.client.execute("SET", "cfg:org:default", b"[not a document")
        denied = await scene.ended_as(await scene.submit(), "DENIED", "DISPATCHED")
        assert (denied["state"], denied["safety_reason"]) == ("DENIED", "invalid effective config")
