"""The decision cache of the kernel (policy spec §12)."""

import re
from pathlib import Path

import grpc
import grpc.aio
import pytest

from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse, safety_pb2, safety_pb2_grpc
from tests.support.kernel import KernelProcess
from tests.support.processes import wait_until

ALLOW = safety_pb2.DECISION_TYPE_ALLOW
DENY = safety_pb2.DECISION_TYPE_DENY
POLICY = """\
rules:
  - {id: hold, match: {topics: [job.held]}, decision: require_approval}
  - {id: rest, match: {topics: ["job.*"]}, decision: allow}
"""
JOB_TIER = POLICY + "  - {id: mine, tier: job, selector: {job_id: j2}, decision: deny}\n"


def lookups(kernel: KernelProcess, result: str) -> float:
    found = re.search(rf'cordum_safety_cache_total{{[^}}]*result="{result}"[^}}]*}} (\S+)', kernel.metrics())
    return float(found.group(1)) if found else 0.0


def request(job_id: str, topic: str = "job.a", **labels: str) -> PolicyCheckRequest:
    return PolicyCheckRequest(job_id=job_id, topic=topic, tenant="acme", labels=labels)


async def check(kernel: KernelProcess, asked: PolicyCheckRequest) -> PolicyCheckResponse:
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        return await safety_pb2_grpc.SafetyKernelStub(channel).Check(asked, timeout=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_the_same_question_about_another_job_is_answered_from_the_cache(folder: Path) -> None:
    kernel = KernelProcess(folder, POLICY, SAFETY_DECISION_CACHE_TTL="30s")
    kernel.start()
    try:
        assert (await check(kernel, request("j1"))).decision == ALLOW
        assert (await check(kernel, request("j2"))).decision == ALLOW
        assert (lookups(kernel, "miss"), lookups(kernel, "hit")) == (1, 1)
        first = await check(kernel, request("j3", "job.held"))
        second = await check(kernel, request("j4", "job.held"))
        assert (first.approval_ref, second.approval_ref) == ("j3", "j4")
        assert lookups(kernel, "hit") == 2
        await check(kernel, request("j5", user="kim"))
        described = {"_action.descriptor_json": "{}"}
        for _ in range(2):
            await check(kernel, request("j6", **described))
        assert (lookups(kernel, "miss"), lookups(kernel, "hit")) == (3, 2)
    finally:
        kernel.stop()


async def test_a_new_policy_is_not_answered_for_by_the_old_one(folder: Path) -> None:
    kernel = KernelProcess(folder, POLICY, SAFETY_DECISION_CACHE_TTL="5m")
    kernel.start()
    try:
        assert (await check(kernel, request("j1"))).decision == ALLOW
        kernel.write_policy("rules: [{id: shut, decision: deny}]")

        async def is_shut() -> bool:
            return (await check(kernel, request("j1"))).decision == DENY

        await wait_until(is_shut)
    finally:
        kernel.stop()


async def test_rules_for_single_jobs_keep_their_jobs_apart(folder: Path) -> None:
    kernel = KernelProcess(folder, JOB_TIER, SAFETY_DECISION_CACHE_TTL="30s")
    kernel.start()
    try:
        said = [(await check(kernel, request(job))).decision for job in ("j1", "j2", "j1", "j2")]
        assert said == [ALLOW, DENY, ALLOW, DENY]
        assert lookups(kernel, "hit") == 2
    finally:
        kernel.stop()


async def test_without_a_time_to_live_nothing_is_kept(folder: Path) -> None:
    kernel = KernelProcess(folder, POLICY)
    kernel.start()
    try:
        for job in ("j1", "j2"):
            await check(kernel, request(job))
        assert lookups(kernel, "miss") == 0
    finally:
        kernel.stop()
