"""Agents and delegated calls with a real kernel and Redis (policy spec §20.1, §20.2)."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from cordum.protocol.cap import PolicyCheckRequest, safety_pb2, safety_pb2_grpc
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.v1 import safety_batch_pb2, safety_batch_pb2_grpc
from tests.support.kernel import KernelProcess
from tests.support.redis_servers import RedisServer

ALLOW = safety_pb2.DECISION_TYPE_ALLOW
DENY = safety_pb2.DECISION_TYPE_DENY
POLICY = """\
default_tenant: default
rules:
  - {id: no-risk, match: {agent_risk_tiers: [high]}, decision: deny}
  - {id: no-depth, match: {delegation: {max_depth: 9, require_issuer: mallory}}, decision: deny}
  - {id: rest, decision: allow}
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[KernelProcess]:
    started = KernelProcess(
        tmp_path_factory.mktemp("agents"),
        POLICY,
        REDIS_URL=redis_url,
        CORDUM_DELEGATION_POLICY_ENABLED="true",
    )
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def channel(kernel: KernelProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(kernel.address) as opened:
        yield opened


async def keep(client: RedisClient, agent_id: str, **record: object) -> None:
    await client.execute("SET", keys.agent_identity(agent_id), json.dumps(record))


def request(**labels: str) -> PolicyCheckRequest:
    return PolicyCheckRequest(job_id="j1", topic="job.a", tenant="acme", labels=labels)


async def test_an_agent_is_judged_by_its_record(
    channel: grpc.aio.Channel, standalone_client: RedisClient
) -> None:
    await keep(standalone_client, "safe", tenant="acme", status="active", risk_tier="low")
    await keep(standalone_client, "wild", tenant="acme", status="active", risk_tier="high")
    await keep(standalone_client, "paused", tenant="acme", status="suspended", risk_tier="low")
    await keep(standalone_client, "foreign", tenant="other", status="active", risk_tier="low")
    stub = safety_pb2_grpc.SafetyKernelStub(channel)
    said = {
        name: await stub.Check(request(agent_id=name), timeout=5)
        for name in ("safe", "wild", "paused", "foreign", "unknown")
    }
    assert {name: (answer.decision, answer.rule_id) for name, answer in said.items()} == {
        "safe": (ALLOW, "rest"),
        "wild": (DENY, "no-risk"),
        "paused": (DENY, ""),
        "foreign": (DENY, ""),
        "unknown": (ALLOW, "rest"),
    }
    assert said["paused"].reason == "agent paused is not active"
    assert said["foreign"].reason == "agent foreign is not known in this tenant"


async def test_a_batch_and_an_explanation_see_the_same_agents(
    channel: grpc.aio.Channel, standalone_client: RedisClient
) -> None:
    await keep(standalone_client, "wild2", tenant="acme", status="active", risk_tier="high")
    batch = safety_batch_pb2_grpc.SafetyKernelBatchStub(channel)
    asked = request(agent_id="wild2").SerializeToString()
    plain = request().SerializeToString()
    answer = await batch.EvaluateBatch(safety_batch_pb2.BatchRequest(requests=[asked, plain]), timeout=5)
    rules = [safety_pb2.PolicyCheckResponse.FromString(item.response).rule_id for item in answer.items]
    assert rules == ["no-risk", "rest"]
    shown = await batch.ExplainDecision(safety_batch_pb2.ExplainRequest(request=asked), timeout=5)
    trace = json.loads(shown.trace)
    assert trace["rule_id"] == "no-risk"
    assert trace["evaluation_path"][0]["conditions"][0]["actual"] == ["high"]


async def test_a_delegated_call_is_told_from_a_direct_one_and_counted(
    kernel: KernelProcess, channel: grpc.aio.Channel
) -> None:
    stub = safety_pb2_grpc.SafetyKernelStub(channel)
    delegated = {"_delegation.depth": "1", "_delegation.issuer": "Mallory"}
    assert (await stub.Check(request(**delegated), timeout=5)).rule_id == "no-depth"
    assert (await stub.Check(request(), timeout=5)).rule_id == "rest"
    page = kernel.metrics()
    for field in ("max_depth", "require_issuer"):
        sample = rf'safety_rule_delegation_match_total{{field="{field}",outcome="deny"[^}}]*}} 1\.0'
        assert re.search(sample, page), field


async def test_an_agent_that_cannot_be_looked_up_has_no_decision(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis").start()
    kernel = KernelProcess(tmp_path, POLICY, REDIS_URL=redis.url)
    kernel.start()
    try:
        async with grpc.aio.insecure_channel(kernel.address) as channel:
            stub = safety_pb2_grpc.SafetyKernelStub(channel)
            batch = safety_batch_pb2_grpc.SafetyKernelBatchStub(channel)
            assert (await stub.Check(request(agent_id="new"), timeout=5)).decision == ALLOW
            redis.kill()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(request(agent_id="other"), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            requests = [request(agent_id="other").SerializeToString(), request().SerializeToString()]
            answer = await batch.EvaluateBatch(safety_batch_pb2.BatchRequest(requests=requests), timeout=5)
            assert [item.code for item in answer.items] == [14, 0]
    finally:
        kernel.stop()
        redis.kill()


async def test_a_record_that_is_none_gives_no_decision(
    channel: grpc.aio.Channel, standalone_client: RedisClient
) -> None:
    stub = safety_pb2_grpc.SafetyKernelStub(channel)
    for number, stored in enumerate(("[]", "not json", '{"tenant": 1}')):
        await standalone_client.execute("SET", keys.agent_identity(f"broken{number}"), stored)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(request(agent_id=f"broken{number}"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
