"""Ways to give jobs to the system: over HTTP in batches, and straight on the bus (protocol spec §11.3)."""

import uuid
from collections.abc import Sequence

import httpx
import orjson

from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.config.nats import NatsSettings
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobRequest
from cordum.runtime.clock import now_us
from cordum.store.blobs import BlobStore
from cordum.store.jobs import JobStore
from tests.support.processes import wait_until

TEST_TOPIC = "job.test.echo"
_HTTP_BATCH = 250


def new_ids(count: int) -> list[str]:
    """Return fresh job ids."""
    return [str(uuid.uuid4()) for _ in range(count)]


def submit_packet(job_id: str, topic: str = TEST_TOPIC, sender: str = "test-client") -> bytes:
    """Return a submit packet as a client of the bus makes it; its context is `ctx:<job_id>`."""
    request = JobRequest(job_id=job_id, topic=topic, tenant_id="default", context_ptr=f"redis://ctx:{job_id}")
    packet = BusPacket(trace_id=f"trace-{job_id}", sender_id=sender, protocol_version=1, job_request=request)
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded


def submit_message(job_id: str, topic: str = TEST_TOPIC) -> OutMessage:
    """Return the message that submits a job on the bus."""
    return OutMessage(subjects.SUBMIT, submit_packet(job_id, topic), f"jobreq:{job_id}")


class BusSubmitter:
    """Submits on the bus, as long as it takes: a message counts once the stream has confirmed it."""

    def __init__(self, bus: Bus, jobs: JobStore, topic: str = TEST_TOPIC) -> None:
        self._bus = bus
        self._publisher = Publisher(bus)
        self._jobs = jobs
        self._topic = topic
        self.submitted: list[str] = []

    async def prepare(self, count: int) -> list[str]:
        """Write the contexts of new jobs and return their ids; they count as submitted from now on."""
        ids = new_ids(count)
        blobs = BlobStore(self._jobs.client, 3_600)
        payload = orjson.dumps({"text": "x" * 200})
        await self._jobs.client.pipeline([blobs.set_context_command(job_id, payload) for job_id in ids])
        self.submitted += ids
        return ids

    async def publish(self, ids: Sequence[str]) -> None:
        """Publish the submits of prepared jobs until the stream has confirmed each of them."""
        left = [submit_message(job_id, self._topic) for job_id in ids]
        while left:
            await wait_until(lambda: self._bus.is_connected, timeout_s=30)
            outcomes = await self._publisher.publish_burst(left)
            left = [message for message, outcome in zip(left, outcomes, strict=True) if not outcome.ok]

    async def submit(self, count: int) -> list[str]:
        """Prepare and publish new jobs; return their ids."""
        ids = await self.prepare(count)
        await self.publish(ids)
        return ids


class HttpSubmitter:
    """Submits through `POST /jobs/batch`, with idempotency keys."""

    def __init__(self, client: httpx.AsyncClient, topic: str = TEST_TOPIC) -> None:
        self._client = client
        self._topic = topic
        self.submitted: list[str] = []

    async def submit(self, count: int) -> list[str]:
        """Submit ``count`` jobs and return their ids; every item must be accepted."""
        ids: list[str] = []
        for start in range(0, count, _HTTP_BATCH):
            keys = [str(uuid.uuid4()) for _ in range(min(_HTTP_BATCH, count - start))]
            jobs = [
                {"prompt": "say it", "topic": self._topic, "context": {"n": n}, "idempotency_key": key}
                for n, key in enumerate(keys)
            ]
            response = await self._client.post("/jobs/batch", json={"jobs": jobs})
            assert response.status_code == 200, response.text
            results = response.json()["results"]
            assert all(result["http_status"] == 200 for result in results), results
            ids += [result["job_id"] for result in results]
        self.submitted += ids
        return ids


async def open_bus(url: str) -> Bus:
    """Connect to NATS as a service does; ``url`` may list several nodes."""
    return await Bus.open(NatsSettings(urls=tuple(url.split(","))), "test-client")
