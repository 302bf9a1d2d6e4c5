"""Suite `output`: what the check of a 16 KiB result before its job succeeds costs, on a real kernel and Redis."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from benches.processes import BenchError
from benches.results import Report, at_most
from benches.stack import Stack, missing_part
from cordum._core import Planner
from cordum.bus.connection import Bus
from cordum.config.nats import NatsSettings
from cordum.config.output_policy import OutputPolicySettings
from cordum.config.redis import RedisSettings, StoreSettings
from cordum.protocol.cap import BusPacket, JobResult, JobStatus
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler.kernel_watch import KernelWatch
from cordum.scheduler.output_checks import OutputChecks
from cordum.scheduler.output_modes import OutputModes
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.breaker import CircuitBreaker
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore

__all__ = ["run"]

SUITE = "output"
RUNS = 5
BATCH = 256
RESULT_BYTES = 16 * 1024
_WORDS = "the order of the parts was checked twice, and nobody found anything to complain about; "
_POLICY = """\
version: bench
default_decision: allow
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: stop, match: {topics: ["job.*"], scanners: [secret]}, decision: quarantine}
  - {id: hostile, match: {topics: ["job.*"], scanners: [injection]}, decision: quarantine}
  - {id: mask, match: {topics: ["job.*"], scanners: [pii]}, decision: redact}
"""


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Run the suite and add its rows; skipped when the kernel is missing."""
    reason = missing_part(("kernel",))
    if reason:
        report.skip(SUITE, reason)
        return
    with Stack(folder, ("kernel",), policy=_POLICY) as stack:
        asyncio.run(_measure(report, stack, rounds=8 if quick else 40))


async def _measure(report: Report, stack: Stack, rounds: int) -> None:
    redis = await RedisClient.open(RedisSettings(url=stack.redis_url))
    kernel = PolicyClient(stack.kernel_address)
    bus = await Bus.open(NatsSettings(urls=(f"nats://127.0.0.1:{stack.nats_port}",)), "bench")
    try:
        jobs = await JobStore.open(redis, StoreSettings())
        settings = OutputPolicySettings(enabled=True, meta_timeout_ms=10_000)
        breaker = CircuitBreaker(redis, keys.BREAKER_OUTPUT, monotonic_s)
        modes = OutputModes(settings, ConfigDocuments(redis), kernel, production=True)
        watch = KernelWatch(kernel, breaker, "output")
        checks = OutputChecks(settings, kernel, breaker, watch, modes, jobs, BlobStore(redis, 3_600), bus)
        await _measure_checks(report, stack, jobs, checks, rounds)
    finally:
        await bus.close()
        await kernel.close()
        await redis.close()


async def _measure_checks(
    report: Report, stack: Stack, jobs: JobStore, checks: OutputChecks, rounds: int
) -> None:
    messages = await _fill(jobs)
    planner = Planner("bench", jobs.partitions)
    await _round(planner, messages, checks, must_pass=True)
    own, kernel, store, walls = [], [], [], []
    for _ in range(RUNS):
        # In turn, so that a slower minute of the machine is in both.
        usage = stack.usage()
        plain_us = checked_us = wall_us = 0.0
        for _ in range(rounds):
            plain_us += (await _round(planner, messages, None))[0]
            cpu_us, elapsed_us = await _round(planner, messages, checks)
            checked_us += cpu_us
            wall_us += elapsed_us
        used, results = usage.since(), rounds * BATCH
        own.append((checked_us - plain_us) / results)
        kernel.append(used["kernel"] / results)
        store.append(used["redis"] / results)
        walls.append(wall_us / results)
    note = f"{RESULT_BYTES} bytes each, batches of {BATCH}, nothing found"
    report.add(SUITE, "CPU a check adds to the scheduler, per result", "µs", own, at_most(60), note)
    report.add(SUITE, "CPU of the kernel, per result", "µs", kernel, None, note)
    report.add(SUITE, "CPU of Redis, per result", "µs", store, None, note)
    report.add(SUITE, "wall time of a checked batch, per result", "µs", walls, None, note)


async def _fill(jobs: JobStore) -> list[bytes]:
    """Store jobs that run, with their results; return the workers' reports."""
    content = orjson.dumps({"text": (_WORDS * (RESULT_BYTES // len(_WORDS) + 1))[: RESULT_BYTES - 12]})
    messages, commands = [], []
    for number in range(BATCH):
        job_id = f"bench-{number:06}"
        tag = jobs.tag(job_id)
        fields = {
            **{"id": job_id, "state": "RUNNING", "rev": 4, "topic": "job.bench", "tenant": "default"},
            **{
                "dispatch_id": f"{job_id}:1:0",
                "worker_id": "w",
                "dispatch_subject": "job.bench",
                "attempts": 1,
            },
            **{"created_at": now_us(), "updated_at": now_us(), "dispatched_at": now_us(), "pool": "bench"},
            **{
                "safety_decision": "ALLOW",
                "safety_rule_id": "bench",
                "trace_id": job_id,
                "principal": "bench",
            },
            **{"safety_snapshot": "bench", "req_hash": "0" * 64, "labels": "{}", "approval_status": ""},
        }
        pairs = [part for pair in fields.items() for part in pair]
        request = {"jobId": job_id, "topic": "job.bench", "tenantId": "default", "labels": {"step": "one"}}
        commands += [
            ("HSET", keys.job_meta(tag, job_id), *pairs),
            ("SET", keys.job_request(tag, job_id), orjson.dumps(request)),
            ("SET", keys.result_blob(job_id), content),
        ]
        messages.append(_report(job_id))
    for reply in await jobs.client.pipeline(commands):
        if isinstance(reply, Exception):
            raise reply
    return messages


def _report(job_id: str) -> bytes:
    result = JobResult(
        job_id=job_id,
        status=JobStatus.JOB_STATUS_SUCCEEDED,
        worker_id="w",
        result_ptr=f"redis://res:{job_id}",
    )
    result.dispatch.dispatch_id = f"{job_id}:1:0"
    packet = BusPacket(trace_id=job_id, sender_id="w", protocol_version=1, job_result=result)
    packet.created_at.FromMicroseconds(now_us())
    encoded: bytes = packet.SerializeToString(deterministic=True)
    return encoded


async def _round(
    planner: Planner, messages: Sequence[bytes], checks: OutputChecks | None, *, must_pass: bool = False
) -> tuple[float, float]:
    """Plan one batch up to its commits, checked or not; return microseconds of this process' CPU and of the clock."""
    started_s, cpu_ns = monotonic_s(), time.process_time_ns()
    plan = planner.plan_results(list(messages), 1)
    if checks is not None:
        await checks.check(plan)
    groups = plan.commits(now_us())
    spent = (time.process_time_ns() - cpu_ns) / 1e3, (monotonic_s() - started_s) * 1e6
    if must_pass:
        packed = [change for _, changes in groups for change in changes]
        if len(packed) != len(messages) or not all(b'"decision":"ALLOW"' in change for change in packed):
            raise BenchError("expected every result to be checked and allowed")
    return spent
