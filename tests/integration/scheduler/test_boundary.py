"""Topics and payloads before policy: the registry, schemas, pools that drain (scheduler spec §5, §7, §18, §19)."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from cordum.bus.connection import Bus
from cordum.bus.publisher import Publisher
from cordum.gateway.packets import config_changed
from cordum.protocol import subjects
from cordum.store.blobs import BlobStore
from cordum.store.config_documents import ConfigDocuments
from cordum.store.jobs import JobStore
from cordum.store.schemas import SchemaStore
from tests.support.hand_worker import HandWorker
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import new_ids, open_bus, submit_message

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SCHEMA = orjson.dumps({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}})


class _Scene:
    """A running system, driven over the bus and the store."""

    def __init__(self, stack: Stack, jobs: JobStore, bus: Bus) -> None:
        self.stack = stack
        self.jobs = jobs
        self.bus = bus

    async def register(self, **topics: dict[str, Any]) -> None:
        """Add registrations (`__` stands for `.`, `_of_` for a tenant) and wait until the scheduler has them."""
        records = {name.replace("__", "."): record for name, record in topics.items()}
        documents = ConfigDocuments(self.jobs.client)
        await documents.update(
            "system", "topics", lambda found: {**found.data, **records}, updated_at="2026-01-01T00:00:00Z"
        )
        await self.reloaded()

    async def reloaded(self) -> None:
        """Announce a change and wait until the scheduler has loaded it."""
        scheduler = self.stack.schedulers[0]
        before = scheduler.tail(1 << 20).count("routing loaded")
        await self.bus.publish_core(subjects.CONFIG_CHANGED, config_changed("system", "topics"))
        await wait_until(lambda: scheduler.tail(1 << 20).count("routing loaded") > before)

    async def submit(self, topic: str, payload: bytes | None = b'{"n": 1}') -> str:
        """Submit a job on the bus; return its id."""
        (job_id,) = new_ids(1)
        if payload is not None:
            await BlobStore(self.jobs.client, 600).set_context(job_id, payload)
        (outcome,) = await Publisher(self.bus).publish_burst([submit_message(job_id, topic)])
        assert outcome.ok
        return job_id

    async def record(self, job_id: str, *states: str) -> dict[str, str]:
        """Return the record of a job once it is in one of ``states``."""

        async def there() -> bool:
            record = await self.jobs.get(job_id)
            return record is not None and record.get("state") in states

        await wait_until(there)
        record = await self.jobs.get(job_id)
        assert record is not None
        return dict(record)

    async def failure(self, job_id: str) -> tuple[str, str]:
        """Return reason code and reason of a failed job's dead letter."""
        await self.record(job_id, "FAILED")
        raw = await self.jobs.client.execute("GET", f"dlq:entry:{self.jobs.tag(job_id)}:{job_id}")
        entry = orjson.loads(raw)
        assert entry["status"] == "JOB_STATUS_FAILED"
        return entry["reason_code"], entry["reason"]


async def test_the_registry_decides_which_topics_run(tmp_path: Path) -> None:
    options = StackOptions(gateway=False, environment={"SCHEMA_ENFORCEMENT": "enforce"})
    async with running_stack(tmp_path, options) as stack, stack.store() as jobs:
        client, bus = await connect(stack.nats.url), await open_bus(stack.nats.url)
        scene = _Scene(stack, jobs, bus)
        seeded = await ConfigDocuments(jobs.client).get("system", "topics")
        assert seeded is not None
        assert {name: record["pool"] for name, record in seeded.data.items()} == dict(stack.options.topics)
        worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")
        await worker.announce("job.test.echo", "job.test.extra")
        assert await scene.failure(await scene.submit("job.test.none")) == ("unknown_topic", "unknown topic")
        await scene.record(await scene.submit("job.test.echo"), "DISPATCHED")

        # A registration alone routes; a tenant's own comes first; disabled is unknown.
        await scene.register(
            **{"job__test__extra": {"name": "job.test.extra", "pool": "test", "status": "deprecated"}}
        )
        assert (await scene.record(await scene.submit("job.test.extra"), "DISPATCHED"))["pool"] == "test"
        assert "deprecated_topic" in stack.schedulers[0].tail(1 << 20)
        await scene.register(**{"tenant:default:job__test__extra": {"status": "disabled"}})
        assert (await scene.failure(await scene.submit("job.test.extra")))[0] == "unknown_topic"

        # What cannot be read leaves the last good registrations in force.
        await jobs.client.execute("SET", "cfg:system:topics", b"[]")
        await bus.publish_core(subjects.CONFIG_CHANGED, config_changed("system", "topics"))
        assert (await scene.failure(await scene.submit("job.test.none")))[0] == "unknown_topic"
        received = "cordum_jobs_received_total"
        assert await stack.schedulers[0].metric(received, topic="job.test.extra") == 2
        assert await stack.schedulers[0].metric(received, topic="job.test.none") == 0
        await bus.close()
        await client.close()


async def _check_schemas(scene: _Scene) -> None:
    schemas = SchemaStore(scene.jobs.client)
    await schemas.put("test/n", SCHEMA, now_us=1)
    await scene.jobs.client.execute("SET", "schema:test/broken", b'{"type": "strin"}')
    await scene.register(
        job__test__echo={"pool": "test", "input_schema_id": "test/n"},
        job__test__lost={"pool": "test", "input_schema_id": "test/lost"},
        job__test__broken={"pool": "test", "input_schema_id": "test/broken"},
    )
    fine = [
        await scene.submit("job.test.echo", payload) for payload in (b'{"n": 1}', b'{"context": {"n": 2}}')
    ]
    for payload in (b'{"n": "x"}', b'{"context": {}}', b"{", None):
        code, reason = await scene.failure(await scene.submit("job.test.echo", payload))
        assert (code, reason) == ("schema_validation_failed", "schema validation failed")
    for job_id in fine:
        await scene.record(job_id, "DISPATCHED")
    lost = await scene.failure(await scene.submit("job.test.lost"))
    assert lost == ("schema_not_found", "topic input schema not found")
    broken = await scene.failure(await scene.submit("job.test.broken"))
    assert broken == ("schema_invalid", "topic input schema invalid")
    log = scene.stack.schedulers[0].tail(1 << 20)
    told = [orjson.loads(line) for line in log.splitlines() if '"schema_validation_failed"' in line]
    assert {fault["path"] for line in told for fault in line["violations"]} == {"/n", "$", "$.context_ptr"}

    # A changed schema is in force once its change is announced.
    await schemas.put("test/n", b'{"type": "object"}', now_us=2)
    await scene.reloaded()
    await scene.record(await scene.submit("job.test.echo", b'{"n": "x"}'), "DISPATCHED")


async def test_payloads_that_do_not_fit_end_where_that_is_enforced(tmp_path: Path) -> None:
    options = StackOptions(gateway=False, environment={"SCHEMA_ENFORCEMENT": "enforce"})
    async with running_stack(tmp_path, options) as stack, stack.store() as jobs:
        client, bus = await connect(stack.nats.url), await open_bus(stack.nats.url)
        await HandWorker(client, BlobStore(jobs.client, 600), "hand", "test").announce("job.test.echo")
        await _check_schemas(_Scene(stack, jobs, bus))
        await bus.close()
        await client.close()


async def test_warned_payloads_run(tmp_path: Path) -> None:
    async with running_stack(tmp_path, StackOptions(gateway=False)) as stack, stack.store() as jobs:
        client, bus = await connect(stack.nats.url), await open_bus(stack.nats.url)
        await HandWorker(client, BlobStore(jobs.client, 600), "hand", "test").announce(
            "job.test.echo", "job.test.lost"
        )
        scene = _Scene(stack, jobs, bus)
        await SchemaStore(jobs.client).put("test/n", SCHEMA, now_us=1)
        await scene.register(
            job__test__echo={"pool": "test", "input_schema_id": "test/n"},
            job__test__lost={"pool": "test", "input_schema_id": "test/lost"},
        )
        for topic, payload in (("job.test.echo", b"{}"), ("job.test.echo", None), ("job.test.lost", b"{}")):
            await scene.record(await scene.submit(topic, payload), "DISPATCHED")
        log = stack.schedulers[0].tail(1 << 20)
        assert log.count('"schema_validation_failed"') == 2
        assert log.count('"schema_not_found"') == 1
        await bus.close()
        await client.close()


async def _put(http: httpx.AsyncClient, path: str, **body: Any) -> None:
    answer = await http.put(path, json=body)
    assert answer.status_code in {201, 204}, answer.text


async def test_a_draining_pool_gets_no_new_jobs_on_a_cluster(
    tmp_path: Path, redis_cluster_nodes: list[RedisServer]
) -> None:
    addresses = ",".join(f"127.0.0.1:{node.port}" for node in redis_cluster_nodes)
    environment = {"REDIS_CLUSTER_ADDRESSES": addresses, "SCHEMA_ENFORCEMENT": "enforce"}
    options = StackOptions(environment=environment)
    async with running_stack(tmp_path, options) as stack, stack.http() as http:
        client = await connect(stack.nats.url)
        await HandWorker(client, BlobStore(None, 600), "hand", "side").announce("job.test.side")  # type: ignore[arg-type]
        await _put(http, "/pools/side")
        schema = {"id": "side/n", "schema": orjson.loads(SCHEMA)}
        assert (await http.post("/schemas", json=schema)).status_code == 204
        topic = {"name": "job.test.side", "pool": "side", "input_schema_id": "side/n"}
        assert (await http.post("/topics", json=topic)).status_code == 201

        async def state_of(job_id: str) -> str:
            return str((await http.get(f"/jobs/{job_id}")).json()["state"])

        async def submit() -> str:
            body = {"prompt": "p", "topic": "job.test.side", "context": {"n": 1}}
            return str((await http.post("/jobs", json=body)).json()["job_id"])

        assert (await http.post("/jobs", json={"prompt": "p", "topic": "job.test.side"})).status_code == 400
        first = await submit()

        async def dispatched() -> bool:
            return await state_of(first) == "DISPATCHED"

        await wait_until(dispatched)
        (scheduler,) = stack.schedulers
        loaded = scheduler.tail(200_000).count("routing loaded")
        assert (await http.post("/pools/side/drain")).json()["status"] == "draining"
        # The scheduler follows a moment later.
        await wait_until(lambda: scheduler.tail(200_000).count("routing loaded") > loaded)
        second = await submit()

        async def parked() -> bool:
            record = (await http.get(f"/jobs/{second}")).json()
            return record["state"] == "PENDING"

        await wait_until(parked)

        async def inactive() -> bool:
            return (await http.get("/pools/side")).json()["status"] == "inactive"

        # The only worker says it has no active job.
        await wait_until(inactive, timeout_s=60)
        assert await state_of(second) == "PENDING"
        detail = (await http.get("/pools/side")).json()
        assert (detail["worker_count"], detail["topics"]) == (1, ["job.test.side"])
        assert (await http.patch("/pools/side", json={"status": "active"})).status_code == 200
        logs = "".join(service.tail(200_000) for service in stack.services)
        assert "CROSSSLOT" not in logs
        await client.close()
