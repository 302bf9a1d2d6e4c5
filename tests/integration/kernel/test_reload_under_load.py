"""A policy is swapped while requests come in (policy spec §10, §25.3)."""

import asyncio
from functools import partial
from pathlib import Path

import grpc.aio

from cordum.protocol.cap import PolicyCheckRequest, safety_pb2
from cordum.v1 import safety_batch_pb2, safety_batch_pb2_grpc
from tests.support.kernel import KernelProcess
from tests.support.processes import wait_until

ALLOW = safety_pb2.DECISION_TYPE_ALLOW
DENY = safety_pb2.DECISION_TYPE_DENY
SWAPS = 8
# The version is part of the snapshot, so that each answer tells by which policy it was made.
POLICY = 'version: "{word}-{number}"\nrules:\n  - {{id: r{number}, decision: {word}}}\n'


async def test_no_request_is_dropped_or_answered_by_two_policies(tmp_path: Path) -> None:
    kernel = KernelProcess(tmp_path, POLICY.format(word="allow", number=0))
    kernel.start()
    seen: set[str] = set()
    swapped = asyncio.Event()
    requests = [PolicyCheckRequest(job_id=f"j{n}", topic="job.a").SerializeToString() for n in range(64)]
    batch = safety_batch_pb2.BatchRequest(requests=requests)

    async def ask(stub: safety_batch_pb2_grpc.SafetyKernelBatchStub) -> None:
        while not swapped.is_set():
            answer = await stub.EvaluateBatch(batch, timeout=5)
            name = answer.policy_snapshot.partition(":")[0]
            word, number = name.split("-")
            seen.add(name)
            assert len(answer.items) == len(requests)
            for item in answer.items:
                said = safety_pb2.PolicyCheckResponse.FromString(item.response)
                assert (item.code, said.policy_snapshot) == (0, answer.policy_snapshot)
                assert said.rule_id == f"r{number}"
                assert said.decision == (ALLOW if word == "allow" else DENY)

    async def swap() -> None:
        for number in range(1, SWAPS + 1):
            name = f"{('allow', 'deny')[number % 2]}-{number}"
            kernel.write_policy(POLICY.format(word=name.partition("-")[0], number=number))
            await wait_until(partial(seen.__contains__, name))
        swapped.set()

    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_batch_pb2_grpc.SafetyKernelBatchStub(channel)
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(ask(stub))
                group.create_task(swap())
    finally:
        kernel.stop()
    assert len(seen) == SWAPS + 1
