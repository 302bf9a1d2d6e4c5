"""What the lists of a job tell, whose agent did it, and what becomes of packets that break the protocol.

Scheduler spec §3.3, §3.4, §10 row 6, §13; protocol spec §4.5, §5.2, §18.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.aio.client import Client

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobCancel, JobRequest, JobResult
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.jobs import JobStore, Record
from tests.integration.store.conftest import members
from tests.support.credentials import store_credential
from tests.support.hand_worker import HandWorker
from tests.support.observer import connect, stored_messages
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.submitting import new_ids

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RUNNING, SUCCEEDED, FAILED_RETRYABLE = 4, 5, 10


class _Scene:
    """A system without gateway; the test plays submitter and worker."""

    def __init__(self, stack: Stack, jobs: JobStore, client: Client) -> None:
        self.stack, self.jobs, self.client = stack, jobs, client
        self.worker = HandWorker(client, BlobStore(jobs.client, 600), "hand", "test")

    async def send(self, subject: str, *, version: int = 1, sender: str = "client", **payload: Any) -> None:
        packet = BusPacket(trace_id="t-1", sender_id=sender, protocol_version=version, **payload)
        packet.created_at.FromMicroseconds(now_us())
        await self.client.publish(subject, packet.SerializeToString(deterministic=True))
        await self.client.flush()

    async def submit(self, topic: str) -> str:
        (job_id,) = new_ids(1)
        request = JobRequest(job_id=job_id, topic=topic, principal_id="ann")
        request.meta.capability = "mail.send"
        request.labels["step_id"] = "gate"
        request.meta.risk_tags.append("pii")
        await self.send(subjects.SUBMIT, job_request=request)
        return job_id

    async def reached(self, job_id: str, *states: str) -> Record:
        async def there() -> bool:
            record = await self.jobs.get(job_id)
            return record is not None and record["state"] in states

        await wait_until(there)
        record = await self.jobs.get(job_id)
        assert record is not None
        return record

    async def events(self, job_id: str) -> dict[str, dict[str, Any]]:
        return {entry["state"]: entry.get("ctx", {}) for entry in await self.jobs.events(job_id)}


@asynccontextmanager
async def _scene(folder: Path, **options: Any) -> AsyncIterator[_Scene]:
    async with running_stack(folder, StackOptions(gateway=False, **options)) as stack, stack.store() as jobs:
        client = await connect(stack.nats.url)
        try:
            yield _Scene(stack, jobs, client)
        finally:
            await client.close()


async def test_events_and_decisions_tell_who_why_and_how_long(tmp_path: Path) -> None:
    async with _scene(tmp_path, dispatch_timeout_s=2) as scene:
        denied, held = await scene.submit("job.test.denied"), await scene.submit("job.test.review")
        await scene.reached(denied, "DENIED")
        await scene.reached(held, "APPROVAL_REQUIRED")
        await scene.worker.announce("job.test.echo")
        late = await scene.submit("job.test.echo")
        await scene.reached(late, "DISPATCHED")
        await scene.reached(late, "RUNNING", "TIMEOUT")

        events = await scene.events(denied)
        assert (await scene.jobs.get(held) or {})["step_id"] == "gate"
        assert events["PENDING"] == {
            "topic": "job.test.denied",
            "actor_id": "ann",
            "capabilities": ["mail.send"],
            "risk_tags": ["pii"],
        }
        end = events["DENIED"]
        assert end["rule"] == "deny-denied"
        assert end["error_code"] == "safety_denied"
        assert end["error_msg"] == "safety: denied: denied for the test"
        assert end["eval_ms"] > 0
        assert end["duration_ms"] >= 0
        question = (await scene.events(held))["APPROVAL_REQUIRED"]
        assert (question["rule"], question["eval_ms"] > 0) == ("hold-review", True)
        # Newest first: while the kernel starts, a decision may say that nobody answered.
        decision, *_ = await scene.jobs.decisions(held)
        assert {
            name: decision[name] for name in ("approval_status", "actionability", "approval_revision")
        } == {
            "approval_status": "pending",
            "actionability": "actionable",
            "approval_revision": 1,
        }
        (plain,) = await scene.jobs.decisions(denied)
        assert "approval_status" not in plain
        (letter,) = await stored_messages(scene.stack.nats.url, "CORDUM_SYS", subjects.DLQ)
        # The code has no number (protocol spec §4.5).
        assert BusPacket.FromString(letter.data).job_result.error_code_enum == 0


async def test_a_record_names_the_agent_of_its_worker(tmp_path: Path) -> None:
    async with _scene(tmp_path, environment={"SCHEDULER_CONFIG_RELOAD_INTERVAL": "200ms"}) as scene:
        agent = {"tenant": "default", "name": "Mailer", "risk_tier": "high", "status": "active"}
        await scene.jobs.client.execute("SET", keys.agent_identity("agent-7"), orjson.dumps(agent))
        await store_credential(scene.jobs.client, scene.client, "hand", agent_id="agent-7")
        await scene.worker.announce("job.test.echo")

        async def done() -> Record:
            job_id = await scene.submit("job.test.echo")
            await scene.reached(job_id, "DISPATCHED", "RUNNING")
            await scene.worker.report(job_id, SUCCEEDED)
            return await scene.reached(job_id, "SUCCEEDED")

        async def is_linked() -> bool:
            return (await done())["agent_id"] == "agent-7"

        await wait_until(is_linked)
        linked = await done()
        assert (linked["agent_name"], linked["agent_risk_tier"]) == ("Mailer", "high")
        await scene.jobs.client.execute("DEL", keys.agent_identity("agent-7"))

        async def is_unlinked() -> bool:
            return (await done())["agent_id"] == "unlinked"

        await wait_until(is_unlinked)
        assert "agent_name" not in await done()


async def test_packets_that_break_the_protocol_are_counted_and_told(tmp_path: Path) -> None:
    async with _scene(tmp_path) as scene:
        alerts: asyncio.Queue[Any] = asyncio.Queue()

        async def on_alert(message: Any) -> None:
            await alerts.put(BusPacket.FromString(message.data))

        await scene.client.subscribe(subjects.ALERT, cb=on_alert)
        await scene.worker.announce("job.test.echo")
        job_id = await scene.submit("job.test.echo")
        await scene.reached(job_id, "DISPATCHED", "RUNNING")
        before = await scene.stack.schedulers[0].metric("cordum_validation_rejections_total")
        cancel = JobCancel(job_id=job_id, reason="r", requested_by="x")
        told = []
        for version, subject, sender, payload in (
            (2, subjects.CANCEL, "old", {"job_cancel": cancel}),
            (1, subjects.CANCEL, "sloppy", {"job_cancel": JobCancel()}),
            (1, subjects.SUBMIT, "broken", {"job_request": JobRequest(job_id="x", topic="")}),
            (1, subjects.RESULT, "nobody", {"job_result": JobResult(job_id="x", status=5)}),
            (1, subjects.HEARTBEAT, "newer", {}),
        ):
            await scene.send(subject, version=version, sender=sender, **payload)
            packet = await asyncio.wait_for(alerts.get(), 10)
            alert = packet.alert
            assert packet.sender_id == alert.source_component == alert.component == "cordum-scheduler"
            assert alert.details["subject"] == subject
            told.append((alert.details["offending_sender"], alert.error_code_enum, alert.severity))
            assert alert.trace_id == "t-1"
        assert told == [
            ("old", 100, 3),
            ("sloppy", 101, 3),
            ("broken", 101, 3),
            ("nobody", 101, 3),
            ("newer", 102, 2),
        ]
        # A second one of the same sender is counted only.
        await scene.send(subjects.CANCEL, sender="sloppy", job_cancel=JobCancel())

        async def counted() -> bool:
            now = await scene.stack.schedulers[0].metric("cordum_validation_rejections_total")
            return now - before == 6

        await wait_until(counted)
        assert alerts.empty()
        record = await scene.jobs.get(job_id)
        assert record is not None
        assert record["state"] in {"DISPATCHED", "RUNNING"}


async def test_payloads_live_as_long_as_their_jobs_need_them(tmp_path: Path) -> None:
    """A job that had to wait starts with a fresh payload; what comes after a cancel does not stay for ever."""
    async with _scene(tmp_path) as scene:
        job_id = await scene.submit("job.test.echo")
        await scene.jobs.client.execute("SET", keys.context_blob(job_id), b"{}", "EX", 600)

        async def ttl_of(key: str) -> int:
            return int(await scene.jobs.client.execute("TTL", key))

        async def is_parked() -> bool:
            record = await scene.jobs.get(job_id)
            return record is not None and record.get("last_cause") == "no_workers"

        await wait_until(is_parked)
        await scene.worker.announce("job.test.echo")
        await scene.reached(job_id, "DISPATCHED", "RUNNING")

        async def is_fresh() -> bool:
            return await ttl_of(keys.context_blob(job_id)) > 80_000

        await wait_until(is_fresh)
        cancel = JobCancel(job_id=job_id, reason="r", requested_by="x")
        await scene.send(subjects.CANCEL, job_cancel=cancel)
        await scene.reached(job_id, "CANCELLED")
        await scene.jobs.client.execute("SET", keys.result_blob(job_id), b"{}")
        assert await ttl_of(keys.result_blob(job_id)) == -1
        await scene.worker.report(job_id, SUCCEEDED)

        async def is_bounded() -> bool:
            return await ttl_of(keys.result_blob(job_id)) > 0

        await wait_until(is_bounded)


async def test_the_list_of_a_tenant_is_in_the_order_of_the_last_changes(tmp_path: Path) -> None:
    async with _scene(tmp_path) as scene:
        held, denied = await scene.submit("job.test.review"), await scene.submit("job.test.denied")
        await scene.reached(held, "APPROVAL_REQUIRED")
        await scene.reached(denied, "DENIED")
        parked = await scene.submit("job.nowhere.x")
        await scene.worker.announce("job.test.echo")
        running, done, again, cancelled = [await scene.submit("job.test.echo") for _ in range(4)]
        for job_id in (running, done, again, cancelled):
            await scene.reached(job_id, "DISPATCHED")
        await scene.worker.report(running, RUNNING)
        await scene.worker.report(done, SUCCEEDED)
        await scene.worker.report(again, FAILED_RETRYABLE)
        await scene.send(subjects.CANCEL, job_cancel=JobCancel(job_id=cancelled, requested_by="ann"))
        await scene.reached(running, "RUNNING")
        await scene.reached(done, "SUCCEEDED")
        await scene.reached(again, "RETRYING")
        await scene.reached(cancelled, "CANCELLED")
        ids = (held, denied, parked, running, done, again, cancelled)

        async def listed_as_changed() -> bool:
            records = [record for record in await scene.jobs.get_many(ids) if record is not None]
            scores = await members(scene.jobs.client, keys.tenant_recent("default"))
            return {record["id"]: int(record["updated_at"]) for record in records} == scores

        await wait_until(listed_as_changed, timeout_s=5)
