"""Error texts of jobs that failed are masked wherever they are kept or told (output policy spec §2.6)."""

from pathlib import Path
from typing import Any

import nats
import orjson
import pytest
from nats.aio.msg import Msg

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, JobStatus
from tests.integration.scheduler.test_output_policy import AWS, dispatched, ended, hand_worker, options
from tests.support.processes import wait_until
from tests.support.stack import POLICY, Stack, StackOptions, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ADDRESS = "alice" + "@example.com"
RAW = f"login of {ADDRESS} with {AWS} refused"
MASKED = "login of [REDACTED] with [REDACTED] refused"
UNCHECKED = "[REDACTED] (the error text could not be checked)"
RULES = """\
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: people, match: {topics: ["job.*"], scanners: [pii]}, decision: redact}
  - {id: errors, match: {has_error: true, scanners: [secret]}, decision: quarantine, reason: a secret}
  - {id: large, match: {topics: ["job.*"], output_size_gt: 10485760}, decision: quarantine}
"""
ENVIRONMENT = {"OUTPUT_POLICY_ENABLED": "true", "OUTPUT_POLICY_FAIL_MODE": "closed"}


async def detail(stack: Stack, job_id: str) -> dict[str, Any]:
    async with stack.http() as http:
        found: dict[str, Any] = (await http.get(f"/jobs/{job_id}")).json()
    return found


async def test_what_rules_find_in_an_error_text_is_read_nowhere(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        if message.subject != subjects.RESULT:
            heard.append(message.data)

    system = StackOptions(policy=POLICY + RULES, environment=ENVIRONMENT)
    async with running_stack(tmp_path, system) as stack, hand_worker(stack) as (worker, observer, _):
        client = await nats.connect(stack.nats.url)
        await client.subscribe("sys.>", cb=hear)
        await client.flush()
        seen = await dispatched(stack, observer, ["fail", "fatal", "late", "again", "clean", "long"])
        statuses = {
            JobStatus.JOB_STATUS_FAILED: RAW,
            JobStatus.JOB_STATUS_FAILED_FATAL: RAW,
            JobStatus.JOB_STATUS_TIMEOUT: RAW,
            JobStatus.JOB_STATUS_FAILED_RETRYABLE: RAW,
        }
        texts = [*statuses.items(), (JobStatus.JOB_STATUS_FAILED, "disk full")]
        # What is not looked at is not kept either.
        texts.append((JobStatus.JOB_STATUS_FAILED, "é" * 40_000 + RAW))
        for one, (status, text) in zip(seen, texts, strict=True):
            await worker.report(one.job_id, status, dispatch_id=one.dispatch_id, error_message=text)
        ids = [one.job_id for one in seen]
        for job_id, state in zip(ids[:3], ("FAILED", "FAILED", "TIMEOUT"), strict=True):
            record = await ended(stack, job_id)
            assert (record["state"], record["failure_reason"]) == (state, MASKED)
            output = orjson.loads(record["output_safety"])
            assert (output["decision"], output["rule_id"], output["reason"], output["phase"]) == (
                "QUARANTINE",
                "errors",
                "a secret",
                "sync",
            )
            places = {(one["matched_pattern"], one["offset"], one["length"]) for one in output["findings"]}
            assert places == {
                ("aws_access_key_id", RAW.index(AWS), len(AWS)),
                ("email_address", RAW.index(ADDRESS), len(ADDRESS)),
            }
            shown = await detail(stack, job_id)
            assert (shown["failure_reason"], shown["error_message"]) == (MASKED, MASKED)
        clean = await ended(stack, ids[4])
        assert (clean["failure_reason"], clean.get("output_safety", "")) == ("disk full", "")
        assert (await ended(stack, ids[5]))["failure_reason"] == "é" * (64 * 1024 // 2)

        async with stack.store() as jobs:

            async def is_retrying() -> bool:
                record = await jobs.get(ids[3])
                return record is not None and record["state"] in {"RETRYING", "DISPATCHED"}

            await wait_until(is_retrying)
            for key in await jobs.client.execute("KEYS", "*"):
                if (await jobs.client.execute("TYPE", key)) == b"hash":
                    assert AWS.encode() not in repr(await jobs.client.execute("HGETALL", key)).encode(), key
            assert MASKED in str(await jobs.events(ids[3]))
        async with stack.http() as http:
            letters = (await http.get("/dlq")).json()
        assert MASKED in str(letters)
        assert AWS not in str(letters)
        accepted = [BusPacket.FromString(data) for data in heard]
        told = {one.job_result.job_id for one in accepted if MASKED in one.job_result.error_message}
        assert told == set(ids[:4])
        assert not [data for data in heard if AWS.encode() in data or ADDRESS.encode() in data]
        scheduler = stack.schedulers[0]
        assert await scheduler.metric("cordum_output_denials_total") == 4
        assert await scheduler.metric("cordum_output_policy_quarantined_total") == 0
        await client.close()


@pytest.mark.parametrize(("asks_for_errors", "shown"), [(True, UNCHECKED), (False, RAW)])
async def test_nobody_reads_an_error_text_that_no_kernel_checked(
    tmp_path: Path, asks_for_errors: bool, shown: str
) -> None:
    system = StackOptions(policy=POLICY + RULES, environment=ENVIRONMENT) if asks_for_errors else options()
    async with running_stack(tmp_path, system) as stack, hand_worker(stack) as (worker, observer, _):
        scheduler = stack.schedulers[0]

        async def has_heard() -> bool:
            return await scheduler.metric("cordum_output_error_texts_checked") == asks_for_errors

        await wait_until(has_heard, timeout_s=40)
        (dispatch,) = await dispatched(stack, observer, ["fail"])
        stack.kernel.kill()
        await worker.report(
            dispatch.job_id,
            JobStatus.JOB_STATUS_FAILED,
            dispatch_id=dispatch.dispatch_id,
            error_message=RAW,
        )
        record = await ended(stack, dispatch.job_id)
        assert (record["state"], record["failure_reason"]) == ("FAILED", shown)
