"""Schedulers and kernels die around output checks, and nothing passes unchecked (output policy spec §2.5, §2.7, §8)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cordum.runtime.failpoints import OUTPUT_STEPS
from cordum.store import keys
from cordum.store.jobs import JobStore, Record
from tests.support.processes import wait_until
from tests.support.stack import API_KEY, APPROVER_KEY, POLICY, Stack, StackOptions, running_stack

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(400)]

# Put together here, so that the repository holds no token.
AWS = "AKIA" + "1234567890ABCDEF"
TOPIC = "job.test.echo"
LARGE = "x" * 600
VIEWER_KEY = "v" * 64
KEYS = [
    {"key": API_KEY, "tenant": "default", "role": "admin", "principal_id": "admin"},
    {"key": APPROVER_KEY, "tenant": "default", "role": "operator", "principal_id": "approver"},
    {"key": VIEWER_KEY, "tenant": "default", "role": "viewer", "principal_id": "viewer"},
]
RULES = """\
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: stop, match: {topics: ["job.*"], scanners: [secret]}, decision: quarantine, reason: a secret}
  - {id: mask, match: {topics: ["job.*"], scanners: [pii]}, decision: redact}
"""
# Killed after the commit of SUCCEEDED and before anything was published, too.
STEPS = (*OUTPUT_STEPS, "result.publish")


@asynccontextmanager
async def system(
    folder: Path, fail_mode: str = "closed"
) -> AsyncIterator[tuple[Stack, JobStore, httpx.AsyncClient]]:
    """A system whose results above 500 bytes are scanned after their job succeeded."""
    options = StackOptions(
        policy=POLICY + RULES,
        dispatch_timeout_s=60,
        running_timeout_s=120,
        environment={
            "OUTPUT_POLICY_ENABLED": "true",
            "OUTPUT_POLICY_FAIL_MODE": fail_mode,
            "OUTPUT_POLICY_INLINE_MAX_BYTES": "500",
            "CORDUM_API_KEYS": json.dumps(KEYS),
        },
    )
    async with running_stack(folder, options) as stack, stack.store() as jobs, stack.http() as http:
        await stack.worker(TOPIC, worker_id="w", pool="test")
        await stack.wait_worker_known("w")
        yield stack, jobs, http


async def submit(http: httpx.AsyncClient, *prompts: str) -> list[str]:
    body = {"jobs": [{"topic": TOPIC, "prompt": prompt} for prompt in prompts]}
    answer = await http.post("/jobs/batch", json=body)
    return [str(one["job_id"]) for one in answer.json()["results"]]


async def record_of(jobs: JobStore, job_id: str) -> Record:
    record = await jobs.get(job_id)
    assert record is not None
    return record


async def settled(jobs: JobStore, job_id: str, state: str, timeout_s: float = 60) -> Record:
    """Return the record of a job that reached a state and has nothing left to do."""

    async def is_settled() -> bool:
        record = await record_of(jobs, job_id)
        return record["state"] == state and not record.get("after")

    await wait_until(is_settled, timeout_s=timeout_s)
    return await record_of(jobs, job_id)


async def letter_of(jobs: JobStore, job_id: str) -> dict[str, str]:
    found = await jobs.client.execute("GET", keys.dlq_entry(jobs.tag(job_id), job_id))
    letter: dict[str, str] = json.loads(found or b"{}")
    return letter


async def die_at(stack: Stack, step: str) -> None:
    """Start the scheduler again, to die at a step; the caller brings the work for that."""
    scheduler = stack.schedulers[0]
    scheduler.kill()
    scheduler.change_environment({"CORDUM_FAILPOINTS": f"{step}=kill"})
    scheduler.launch()


async def dead(stack: Stack) -> None:
    await wait_until(lambda: not stack.schedulers[0].is_running, timeout_s=90)


async def recover(stack: Stack, jobs: JobStore, *overdue: str) -> None:
    """Start the scheduler in good health; it takes up the duties of these jobs at once."""
    for job_id in overdue:
        await jobs.client.execute("ZADD", keys.job_after(jobs.tag(job_id)), "XX", 1, job_id)
    stack.schedulers[0].kill()
    stack.schedulers[0].change_environment({"CORDUM_FAILPOINTS": ""})
    await stack.schedulers[0].start()


async def test_a_crash_between_any_two_steps_of_a_check_lets_nothing_pass(tmp_path: Path) -> None:
    leaks: list[str] = []
    masked: list[str] = []
    clean: list[str] = []
    async with system(tmp_path) as (stack, jobs, http):
        for step in STEPS:
            await die_at(stack, step)
            texts = (f"leak {AWS}", "mail alice@example.com", "clean")
            ids = await submit(http, *(text for word in texts for text in (word, f"{LARGE} {word}")))
            for group, at in ((leaks, 0), (masked, 2), (clean, 4)):
                group += ids[at : at + 2]
            await dead(stack)
        await recover(stack, jobs, *leaks, *masked, *clean)
        for job_id in leaks:
            record = await settled(jobs, job_id, "OUTPUT_QUARANTINED")
            phase = json.loads(record["output_safety"])["phase"]
            code = {"sync": "output_quarantined", "async": "output_quarantined_async"}[phase]
            assert (await letter_of(jobs, job_id))["reason_code"] == code
            # Evidence is kept for a week, whoever finished the job.
            await wait_until(lambda job_id=job_id: _is_evidence(jobs, job_id))
        for job_id in masked:
            # The duty of a scan ends with the swap of the pointer.
            record = await settled(jobs, job_id, "SUCCEEDED")
            assert json.loads(record["output_safety"])["decision"] == "REDACT"
            copy = await jobs.client.execute("GET", record["result_ptr"].removeprefix("redis://"))
            assert "[REDACTED]" in json.loads(copy)["echo"]["prompt"]
            assert b"alice@" not in copy
        for job_id in clean:
            record = await settled(jobs, job_id, "SUCCEEDED")
            assert json.loads(record["output_safety"])["decision"] == "ALLOW"
            assert await letter_of(jobs, job_id) == {}


async def test_what_cannot_be_scanned_is_quarantined_or_withheld(tmp_path: Path) -> None:
    async with system(tmp_path) as (stack, jobs, http):
        ids = []
        for _ in range(3):
            await die_at(stack, "scan.begin")
            ids += await submit(http, f"{LARGE} {AWS}")
            await dead(stack)
            record = await record_of(jobs, ids[-1])
            assert record["state"] == "SUCCEEDED"
            assert "scan" in record["after"].split(",")
        locked, broken, lonely = ids
        # Somebody holds the lock of the first, the request of the second is damaged, the kernel of the third is gone
        # and has been for longer than a scan waits.
        await jobs.client.execute("SET", keys.job_lock(locked), "somebody", "PX", 120_000)
        await jobs.client.execute("SET", keys.job_request(jobs.tag(broken), broken), "{", "EX", 600)
        # The third is not overdue before its kernel is gone.
        await jobs.client.execute("ZINCRBY", keys.job_after(jobs.tag(lonely)), 600_000_000, lonely)
        await recover(stack, jobs, locked, broken)
        await wait_until(lambda: _has_code(jobs, locked, "quarantine_failed"), timeout_s=40)
        letter = await letter_of(jobs, locked)
        assert (letter["status"], letter["reason"]) == (
            "JOB_STATUS_FAILED",
            "quarantine_failed: the job is locked",
        )
        assert (await record_of(jobs, locked))["state"] == "SUCCEEDED"
        async with stack.http(VIEWER_KEY) as viewer:
            seen = (await viewer.get(f"/jobs/{locked}")).json()
        assert "result" not in seen
        assert seen["output_decision"] == "QUARANTINE"
        record = await settled(jobs, broken, "OUTPUT_QUARANTINED")
        assert record["failure_reason"] == "async output check panic — fail-closed: ValueError"

        stack.kernel.kill()
        tag = jobs.tag(lonely)
        await jobs.client.execute("HINCRBY", keys.job_meta(tag, lonely), "updated_at", -301_000_000)
        await jobs.client.execute("DEL", keys.job_lock(locked))
        await recover(stack, jobs, lonely)
        record = await settled(jobs, lonely, "OUTPUT_QUARANTINED")
        assert record["failure_reason"].startswith("async output check error — fail-closed: ")
        assert (await letter_of(jobs, lonely))["reason_code"] == "output_quarantined_async"
        assert await stack.schedulers[0].metric("cordum_output_policy_async_timeout_total", topic=TOPIC) >= 1
        # The first waits for the kernel like every result of the last minutes, and is then decided.
        await stack.kernel.start()
        await settled(jobs, locked, "OUTPUT_QUARANTINED")
        assert (await letter_of(jobs, locked))["reason_code"] == "output_quarantined_async"


async def _is_evidence(jobs: JobStore, job_id: str) -> bool:
    return int(await jobs.client.execute("TTL", keys.result_blob(job_id))) > 6 * 24 * 3600


async def _has_code(jobs: JobStore, job_id: str, code: str) -> bool:
    return (await letter_of(jobs, job_id)).get("reason_code") == code


async def test_open_lets_results_pass_that_nobody_can_check_but_not_those_that_break_their_scan(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, "open") as (stack, jobs, http):
        await die_at(stack, "scan.begin")
        (broken,) = await submit(http, f"{LARGE} {AWS}")
        await dead(stack)
        await jobs.client.execute("SET", keys.job_request(jobs.tag(broken), broken), "{", "EX", 600)
        await recover(stack, jobs, broken)
        await settled(jobs, broken, "OUTPUT_QUARANTINED")
        await die_at(stack, "scan.begin")
        (unseen,) = await submit(http, f"{LARGE} {AWS}")
        await dead(stack)
        stack.kernel.kill()
        await recover(stack, jobs, unseen)
        record = await settled(jobs, unseen, "SUCCEEDED")
        assert json.loads(record.get("output_safety") or "{}").get("decision") != "QUARANTINE"
        scheduler = stack.schedulers[0]
        assert await scheduler.metric("cordum_output_policy_skipped_total", topic=TOPIC) >= 1
        assert await scheduler.metric("cordum_output_policy_async_timeout_total", topic=TOPIC) >= 1
