"""Velocity rules with a real kernel and Redis (policy spec §13, §25.10)."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import pytest

from cordum.protocol.cap import PolicyCheckRequest, safety_pb2, safety_pb2_grpc
from cordum.store.connection import RedisClient
from cordum.v1 import safety_batch_pb2, safety_batch_pb2_grpc
from tests.support.kernel import KernelProcess
from tests.support.redis_servers import RedisServer

ALLOW = safety_pb2.DECISION_TYPE_ALLOW
HOLD = safety_pb2.DECISION_TYPE_REQUIRE_HUMAN
THROTTLE = safety_pb2.DECISION_TYPE_THROTTLE
POLICY = """\
version: "1"
default_tenant: default
rules:
  - id: too-many
    match: {topics: [job.demo.echo]}
    velocity: {max_requests: 10, window_seconds: 3600, key: "tenant:labels.user"}
    decision: throttle
    reason: not so fast
  - id: allow-echo
    match: {topics: ["job.*"]}
    decision: allow
"""


def request(job_id: str, user: str = "kim", topic: str = "job.demo.echo") -> PolicyCheckRequest:
    return PolicyCheckRequest(job_id=job_id, topic=topic, tenant="acme", labels={"user": user})


def kernel_on(folder: Path, redis_url: str, **environment: str) -> KernelProcess:
    return KernelProcess(folder, POLICY, **{"REDIS_URL": redis_url, **environment})


async def test_of_fifty_concurrent_jobs_exactly_the_limit_passes(
    tmp_path: Path, redis_url: str, standalone_client: RedisClient
) -> None:
    await standalone_client.execute("FLUSHALL")
    kernel = kernel_on(tmp_path, redis_url)
    kernel.start()
    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)
            for _ in range(3):  # asking does not count
                assert (await stub.Simulate(request("probe"), timeout=5)).decision == ALLOW
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(decide(stub, f"j{number}")) for number in range(50)]
            decided = {f"j{number}": task.result() for number, task in enumerate(asked)}
            assert Counter(decided.values()) == {ALLOW: 10, THROTTLE: 40}
            assert (await stub.Check(request("other", user="lee"), timeout=5)).decision == ALLOW
            assert (await stub.Check(request("plain", topic="job.other"), timeout=5)).decision == ALLOW
            anonymous = PolicyCheckRequest(job_id="x", topic="job.demo.echo", tenant="acme")
            assert (await stub.Check(anonymous, timeout=5)).decision == ALLOW
    finally:
        kernel.stop()


async def decide(stub: safety_pb2_grpc.SafetyKernelStub, job_id: str) -> int:
    return int((await stub.Check(request(job_id), timeout=10)).decision)


async def test_a_job_checked_at_submit_and_again_at_dispatch_counts_once(
    tmp_path: Path, redis_url: str, standalone_client: RedisClient
) -> None:
    await standalone_client.execute("FLUSHALL")
    kernel = kernel_on(tmp_path, redis_url)
    kernel.start()
    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)
            batches = safety_batch_pb2_grpc.SafetyKernelBatchStub(channel)
            jobs = [request(f"j{number}") for number in range(10)]
            assert [(await stub.Evaluate(job, timeout=5)).decision for job in jobs] == [ALLOW] * 10
            batch = safety_batch_pb2.BatchRequest(requests=[job.SerializeToString() for job in jobs])
            items = (await batches.EvaluateBatch(batch, timeout=5)).items
            again = [safety_pb2.PolicyCheckResponse.FromString(item.response) for item in items]
            assert [answer.decision for answer in again] == [ALLOW] * 10
            eleventh = await stub.Check(request("j10"), timeout=5)
            assert (eleventh.decision, eleventh.rule_id, eleventh.reason) == (
                THROTTLE,
                "too-many",
                "not so fast",
            )
    finally:
        kernel.stop()


@pytest.mark.parametrize(("mode", "decision"), [("closed", HOLD), ("open", ALLOW)])
async def test_without_counts_a_human_is_asked_unless_the_operator_chose_otherwise(
    tmp_path: Path, mode: str, decision: int
) -> None:
    server = RedisServer(tmp_path / "redis").start()
    kernel = kernel_on(tmp_path, server.url, VELOCITY_FAIL_MODE=mode)
    kernel.start()
    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)
            assert await decide(stub, "j0") == ALLOW
            server.kill()
            answer = await stub.Check(request("j1"), timeout=10)
            assert answer.decision == decision
            if mode == "closed":
                assert (answer.rule_id, answer.reason) == ("too-many", "velocity check unavailable")
    finally:
        kernel.stop()
        server.stop()


async def test_an_explanation_shows_the_count_and_does_not_count(
    tmp_path: Path, redis_url: str, standalone_client: RedisClient
) -> None:
    await standalone_client.execute("FLUSHALL")
    kernel = kernel_on(tmp_path, redis_url)
    kernel.start()
    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)
            batches = safety_batch_pb2_grpc.SafetyKernelBatchStub(channel)

            async def explained() -> tuple[str, str]:
                asked = request("probe").SerializeToString()
                answer = await batches.ExplainDecision(
                    safety_batch_pb2.ExplainRequest(request=asked), timeout=5
                )
                trace = json.loads(answer.trace)
                (condition,) = [
                    found
                    for found in trace["evaluation_path"][0]["conditions"]
                    if found["field"] == "velocity"
                ]
                decided = safety_pb2.PolicyCheckResponse.FromString(answer.response)
                assert decided.rule_id == trace["rule_id"]
                return decided.rule_id, condition["actual"]

            for _ in range(12):
                assert await explained() == ("allow-echo", "within_limit")
            for number in range(11):
                await decide(stub, f"j{number}")
            assert await explained() == ("too-many", "exceeded")
    finally:
        kernel.stop()
