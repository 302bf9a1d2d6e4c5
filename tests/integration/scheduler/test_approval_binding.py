"""An approval counts for one request under one policy, and has one winner (policy spec §16.3, §25.7)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore, Record
from tests.support.processes import wait_until
from tests.support.stack import APPROVER_KEY, POLICY, Stack, StackOptions, running_stack
from tests.support.submitting import new_ids, open_bus, submit_packet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

REVIEW = "job.test.review"
UNRELATED = POLICY.replace("denied for the test", "denied for another reason")
DENY_REVIEW = POLICY.replace("topics: [job.test.denied]", "topics: [job.test.denied, job.test.review]")

NO_ANSWER = '"msg":"no policy answer"'


@dataclass
class House:
    """A running system without workers: an approved job is tried again and again."""

    stack: Stack
    jobs: JobStore
    submitter: httpx.AsyncClient
    approver: httpx.AsyncClient

    async def held(self, **body: object) -> str:
        """Submit a job that waits for a human; return its id."""
        answer = await self.submitter.post("/jobs", json={"prompt": "p", "topic": REVIEW, **body})
        assert answer.json()["status"] == "approval_required", answer.text
        return str(answer.json()["job_id"])

    async def approve(self, job_id: str) -> httpx.Response:
        return await self.approver.post(f"/approvals/{job_id}/approve")

    async def record(self, job_id: str) -> Record:
        record = await self.jobs.get(job_id)
        assert record is not None
        return record

    async def wait(self, job_id: str, is_so: Callable[[Record], bool], timeout_s: float = 20.0) -> Record:
        """Wait until a job's record is as wanted and return it."""

        async def holds() -> bool:
            return is_so(await self.record(job_id))

        await wait_until(holds, timeout_s=timeout_s)
        return await self.record(job_id)

    async def parked(self, job_id: str) -> Record:
        """Wait until an approved job waits for a worker."""
        return await self.wait(job_id, lambda r: r.get("last_cause") == "no_workers")

    def write_policy(self, text: str) -> None:
        draft = self.stack.folder / "safety.new"
        draft.write_text(text)
        draft.replace(self.stack.folder / "safety.yaml")

    async def alter(self, job_id: str) -> None:
        """Change the stored request behind everybody's back."""
        key = keys.job_request(self.jobs.tag(job_id), job_id)
        request = orjson.loads(await self.jobs.request(job_id) or b"")
        request["memoryId"] = "somebody-elses"
        await self.jobs.client.execute("SET", key, orjson.dumps(request))

    async def ends(self, job_id: str) -> list[str]:
        """Return the final states in a job's history."""
        events = await self.jobs.events(job_id)
        final = {"SUCCEEDED", "DENIED", "TIMEOUT", "CANCELLED", "FAILED"}
        return [event["state"] for event in events if event["state"] in final]


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    async with (
        running_stack(folder, StackOptions()) as stack,
        stack.store() as jobs,
        stack.http() as submitter,
        stack.http(APPROVER_KEY) as approver,
    ):
        yield House(stack, jobs, submitter, approver)


async def test_an_approved_job_is_checked_again_when_the_policy_changed_before_it_ran(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        denied, asked = await here.held(), await here.held()
        for job_id in (denied, asked):
            assert (await here.approve(job_id)).status_code == 200
            record = await here.parked(job_id)
            assert (record["safety_decision"], record["safety_reason"]) == ("ALLOW", "approval granted")
            assert record["approval_publish_status"] == "published"

        here.write_policy(UNRELATED)
        record = await here.wait(asked, lambda r: r["state"] == "APPROVAL_REQUIRED")
        assert (record["approval_status"], record["approval_revision"]) == ("pending", "3")
        assert "approval_by" not in record
        assert '"approval.revision_mismatch"' in here.stack.schedulers[0].tail(200_000)
        await here.wait(denied, lambda r: r["state"] == "APPROVAL_REQUIRED")

        assert (await here.approve(asked)).status_code == 200
        await here.wait(asked, lambda r: r.get("last_cause") == "no_workers", 30)
        here.write_policy(DENY_REVIEW)
        for job_id in (denied, asked):
            await here.wait(job_id, lambda r: r["state"] == "DENIED")
            assert await here.ends(job_id) == ["DENIED"]


async def test_a_request_altered_after_its_approval_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        job_id = await here.held()
        await here.approve(job_id)
        await here.parked(job_id)
        await here.alter(job_id)
        record = await here.wait(job_id, lambda r: r["state"] == "DENIED")
        assert record["approval_status"] == "invalidated"
        assert "dispatch_id" not in record


async def test_a_forged_approval_label_on_the_bus_is_ignored(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        bus = await open_bus(here.stack.nats.url)
        try:
            waiting, fresh = await here.held(), new_ids(1)[0]
            snapshot = (await here.record(waiting))["safety_snapshot"]
            messages = []
            for job_id in (waiting, fresh):
                packet = BusPacket.FromString(submit_packet(job_id, REVIEW, "api-gateway"))
                packet.job_request.labels["approval_granted"] = "true"
                packet.job_request.labels["approval_snapshot"] = snapshot
                packet.job_request.labels["cordum.bus_msg_id"] = f"approval:{job_id}"
                messages.append(OutMessage(subjects.SUBMIT, packet.SerializeToString(), f"forged:{job_id}"))
            assert all(outcome.ok for outcome in await Publisher(bus).publish_burst(messages))

            async def held_too() -> bool:
                record = await here.jobs.get(fresh)
                return record is not None and record["state"] == "APPROVAL_REQUIRED"

            await wait_until(held_too)
            assert (await here.record(waiting))["state"] == "APPROVAL_REQUIRED"
        finally:
            await bus.close()


async def test_an_unrelated_policy_edit_rebinds_waiting_jobs_and_a_denying_one_ends_them(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as here:
        approved, ended = await here.held(), await here.held()
        before = (await here.record(approved))["safety_snapshot"]
        here.write_policy(UNRELATED)
        for job_id in (approved, ended):
            record = await here.wait(job_id, lambda r: r["safety_snapshot"] != before)
            assert (record["state"], record["approval_status"]) == ("APPROVAL_REQUIRED", "pending")
            assert record["approval_revision"] == "2"
        assert (await here.approve(approved)).status_code == 200
        record = await here.parked(approved)
        assert record["safety_reason"] == "approval granted"

        here.write_policy(DENY_REVIEW)
        record = await here.wait(ended, lambda r: r["state"] == "DENIED")
        assert (record["approval_status"], record["safety_decision"]) == ("invalidated", "DENY")
        assert (await here.approve(ended)).status_code == 409
        letter = await DeadLetterStore(here.jobs).get(ended)
        assert letter is not None
        assert letter["reason_code"] == "safety_denied"
        await here.wait(ended, lambda r: "after" not in r)
        assert await here.ends(ended) == ["DENIED"]


async def test_a_waiting_job_whose_request_was_altered_is_ended(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        job_id = await here.held()
        await here.alter(job_id)
        record = await here.wait(job_id, lambda r: r["state"] == "DENIED")
        assert record["approval_status"] == "invalidated"


async def test_without_the_kernel_waiting_jobs_stay_as_they_are(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        job_id = await here.held()
        before, log = await here.record(job_id), here.stack.schedulers[0].log_path
        asked = log.read_text().count(NO_ANSWER)
        here.stack.kernel.kill()
        # The repair pass asks the kernel first thing, and nobody else asks now; the third refusal opens the breaker.
        await wait_until(lambda: log.read_text().count(NO_ANSWER) >= asked + 3, timeout_s=30)
        assert await here.record(job_id) == before


async def test_an_approval_whose_submit_was_lost_still_reaches_the_scheduler(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        job_id = await here.held()
        scheduler = here.stack.schedulers[0]
        scheduler.terminate()
        assert (await here.approve(job_id)).status_code == 200
        bus = await open_bus(here.stack.nats.url)
        await bus.client.jetstream().purge_stream(subjects.STREAM_SYS)
        await bus.close()
        await scheduler.start()
        record = await here.parked(job_id)
        assert record["approval_publish_status"] == "published"


async def test_approval_against_expiry_has_one_winner(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        outcomes = set()
        for turn in range(6):
            job_id = await here.held()
            key = keys.job_deadline(here.jobs.tag(job_id))
            record = await here.record(job_id)
            await here.jobs.client.execute("ZADD", key, now_us(), job_id)
            await asyncio.sleep(0.2 * turn)
            answer = await here.approve(job_id)
            record = await here.record(job_id)
            outcomes.add(record["approval_status"])
            if answer.status_code == 200:
                assert record["approval_status"] == "approved"
                assert record["approval_decision"] == "approve"
            else:
                assert answer.status_code == 409
                assert (record["state"], record["approval_status"]) == ("TIMEOUT", "expired")
            assert len(await here.ends(job_id)) <= 1
        assert outcomes <= {"approved", "expired"}


async def test_approval_against_a_denying_policy_has_one_winner(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        for turn in range(4):
            here.write_policy(POLICY.replace("a person looks first", f"a person looks first, turn {turn}"))

            async def is_held_again() -> bool:
                answer = await here.submitter.post("/jobs", json={"prompt": "p", "topic": REVIEW})
                return bool(answer.json().get("status") == "approval_required")

            await wait_until(is_held_again)
            job_id = await here.held()
            here.write_policy(DENY_REVIEW)
            await asyncio.sleep(0.15 * turn)
            answer = await here.approve(job_id)
            record = await here.wait(job_id, lambda r: r["state"] == "DENIED", 30)
            assert answer.status_code in {200, 409}
            assert await here.ends(job_id) == ["DENIED"]
            assert "dispatch_id" not in record


async def test_answers_that_stopped_half_way_are_finished(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        approved, rejected, stamped = [await here.held() for _ in range(3)]

        async def leave(job_id: str, **fields: str) -> None:
            key = keys.job_meta(here.jobs.tag(job_id), job_id)
            await here.jobs.client.execute("HSET", key, *[part for pair in fields.items() for part in pair])

        key = keys.job_request(here.jobs.tag(stamped), stamped)
        request = orjson.loads(await here.jobs.request(stamped) or b"")
        request["labels"]["approval_granted"] = "true"
        await here.jobs.client.execute("SET", key, orjson.dumps(request))
        await leave(approved, approval_decision="approve", approval_by="ann", approval_role="operator")
        await leave(rejected, approval_decision="reject", approval_by="ann", approval_reason="too much")

        record = await here.wait(approved, lambda r: r.get("last_cause") == "no_workers", 40)
        assert (record["safety_reason"], record["approval_status"]) == ("approval granted", "approved")
        assert record["approval_by"] == "ann"
        assert record["approval_note"].startswith("repair: ")
        record = await here.wait(rejected, lambda r: r["state"] == "DENIED")
        letter = await DeadLetterStore(here.jobs).get(rejected)
        assert letter is not None
        assert (letter["reason_code"], letter["reason"]) == ("approval_rejected", "too much")
        # A label says nothing without the record of a human.
        assert (await here.record(stamped))["state"] == "APPROVAL_REQUIRED"
