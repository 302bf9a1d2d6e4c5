"""Input rules see the payload of jobs that come over the bus (policy spec §4, §7; scheduler spec §6.1)."""

from pathlib import Path

import orjson
import pytest

from cordum.bus.publisher import Publisher
from cordum.store.blobs import BlobStore
from cordum.store.jobs import JobStore, Record
from tests.support.processes import wait_until
from tests.support.stack import POLICY, StackOptions, running_stack
from tests.support.submitting import new_ids, open_bus, submit_message

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONTENT_POLICY = (
    POLICY
    + """\
input_rules:
  - id: no-cards
    reason: no card numbers
    match: {topics: [job.test.*], scanners: [credit_card]}
  - id: ask-about-bombs
    decision: require_approval
    match: {topics: [job.test.*], keywords: [bomb]}
"""
)


async def test_the_payload_of_a_job_from_the_bus_is_judged_before_it_runs(tmp_path: Path) -> None:
    payloads = {"card": "pay 4111 1111 1111 1111", "bomb": "a BOMB", "clean": "a flower", "gone": None}
    ids = dict(zip(payloads, new_ids(len(payloads)), strict=True))
    options = StackOptions(gateway=False, policy=CONTENT_POLICY)
    async with running_stack(tmp_path, options) as stack, stack.store() as jobs:
        blobs = BlobStore(jobs.client, 600)
        await jobs.client.pipeline(
            [
                blobs.set_context_command(ids[name], orjson.dumps({"text": text}))
                for name, text in payloads.items()
                if text is not None
            ]
        )
        bus = await open_bus(stack.nats.url)
        try:
            outcomes = await Publisher(bus).publish_burst([submit_message(job_id) for job_id in ids.values()])
            assert all(outcome.ok for outcome in outcomes)
            card = await _judged(jobs, ids["card"])
            assert (card["state"], card["safety_rule_id"]) == ("DENIED", "no-cards")
            assert card["safety_reason"] == "no card numbers: payment card number"
            bomb = await _judged(jobs, ids["bomb"])
            assert (bomb["state"], bomb["safety_rule_id"]) == ("APPROVAL_REQUIRED", "ask-about-bombs")
            for name in ("clean", "gone"):
                record = await _judged(jobs, ids[name])
                assert record["safety_decision"] == "ALLOW", name
        finally:
            await bus.close()


async def _judged(jobs: JobStore, job_id: str) -> Record:
    async def is_judged() -> bool:
        record = await jobs.get(job_id)
        return record is not None and record.get("safety_decision", "") not in ("", "UNAVAILABLE")

    await wait_until(is_judged)
    record = await jobs.get(job_id)
    assert record is not None
    return record
