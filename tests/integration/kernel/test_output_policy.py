"""Output checks with a real kernel and Redis (output policy spec §6, §10)."""

import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cordum.protocol.kernel_client import PolicyClient
from cordum.store import keys
from cordum.store.blobs import redacted_key
from cordum.store.connection import RedisClient
from cordum.v1 import output_policy_pb2_grpc
from cordum.v1.output_policy_pb2 import OutputCheckRequest, OutputCheckResponse, OutputDecision
from cordum.v1.safety_batch_pb2 import BatchRequest, BatchResponse
from tests.support.kernel import KernelProcess

ALLOW = OutputDecision.OUTPUT_DECISION_ALLOW
QUARANTINE = OutputDecision.OUTPUT_DECISION_QUARANTINE
REDACT = OutputDecision.OUTPUT_DECISION_REDACT
# Put together here, so that the repository holds no token.
AWS = "AKIA" + "1234567890ABCDEF"
POLICY = """\
version: "1"
default_decision: deny
output_policy: {enabled: true, fail_mode: closed}
output_rules:
  - {id: stop, match: {topics: ["job.*"], scanners: [secret]}, decision: quarantine, reason: a secret}
  - {id: mask, match: {topics: ["job.*"], scanners: [pii]}, decision: redact}
  - {id: files, match: {topics: [job.files], artifacts: true, scanners: [secret]}, decision: quarantine}
"""
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[KernelProcess]:
    started = KernelProcess(
        tmp_path_factory.mktemp("outputs"),
        POLICY,
        REDIS_URL=redis_url,
        OUTPUT_POLICY_MAX_SCAN_BYTES="4MiB",
        CORDUM_GRPC_REFLECTION="true",
    )
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def channel(kernel: KernelProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(kernel.address) as opened:
        yield opened


@pytest.fixture
async def client(kernel: KernelProcess) -> AsyncIterator[PolicyClient]:
    opened = PolicyClient(kernel.address)
    yield opened
    await opened.close()


async def ask(client: PolicyClient, *requests: OutputCheckRequest) -> BatchResponse:
    batch = BatchRequest(requests=[request.SerializeToString() for request in requests])
    return BatchResponse.FromString(await client.check_outputs(batch.SerializeToString(), 10))


def decided(answer: BatchResponse, at: int = 0) -> OutputCheckResponse:
    assert answer.items[at].code == 0, answer.items[at].error
    return OutputCheckResponse.FromString(answer.items[at].response)


async def test_the_first_check_does_not_wait_for_the_detectors(tmp_path: Path, redis_url: str) -> None:
    fresh = KernelProcess(tmp_path, POLICY, REDIS_URL=redis_url)
    fresh.start()
    try:
        async with grpc.aio.insecure_channel(fresh.address) as opened:
            call = output_policy_pb2_grpc.OutputPolicyServiceStub(opened).CheckOutput(
                OutputCheckRequest(job_id="j", topic="job.a", output_content=b"clean"), timeout=5
            )
            assert (await call).decision == ALLOW
            # Building them takes a hundred times as long as this scan.
            assert int(dict(await call.trailing_metadata())["x-cordum-eval-us"]) < 30_000
    finally:
        fresh.stop()


async def test_any_client_may_ask_and_hears_what_it_cost(channel: grpc.aio.Channel) -> None:
    stub = output_policy_pb2_grpc.OutputPolicyServiceStub(channel)
    call = stub.CheckOutput(
        OutputCheckRequest(job_id="j", topic="job.a", output_content=f"leak {AWS}".encode()), timeout=5
    )
    answer = await call
    assert (answer.decision, answer.rule_id, answer.reason) == (QUARANTINE, "stop", "a secret")
    assert AWS not in str(answer)
    assert answer.policy_snapshot
    metadata = await call.trailing_metadata()
    assert int(dict(metadata)["x-cordum-eval-us"]) > 0


async def test_an_empty_request_is_allowed_with_its_reason(channel: grpc.aio.Channel) -> None:
    answer = await output_policy_pb2_grpc.OutputPolicyServiceStub(channel).CheckOutput(
        OutputCheckRequest(), timeout=5
    )
    assert (answer.decision, answer.reason) == (ALLOW, "missing request")


async def test_the_service_is_listed_by_reflection(kernel: KernelProcess) -> None:
    with grpc.insecure_channel(kernel.address) as opened:
        database = ProtoReflectionDescriptorDatabase(opened)
        assert "cordum.v1.OutputPolicyService" in database.get_services()
        assert (
            database.FindFileContainingSymbol("cordum.v1.OutputFinding").name
            == "cordum/v1/output_policy.proto"
        )


async def test_a_batch_keeps_its_order_and_has_one_snapshot(client: PolicyClient) -> None:
    contents = ["clean", "mail alice@example.com", f"leak {AWS}"]
    answer = await ask(
        client,
        *(
            OutputCheckRequest(job_id=f"j{n}", topic="job.a", output_content=c.encode())
            for n, c in enumerate(contents)
        ),
    )
    assert [decided(answer, at).decision for at in range(3)] == [ALLOW, REDACT, QUARANTINE]
    assert [(s.offset, s.length) for s in decided(answer, 1).redaction_spans] == [(5, 17)]
    assert {decided(answer, at).policy_snapshot for at in range(3)} == {answer.policy_snapshot}


async def test_pointers_are_followed_only_to_what_belongs_to_the_job(
    client: PolicyClient, standalone_client: RedisClient
) -> None:
    leak = f"leak {AWS}".encode()
    copy = redacted_key("mine", b"copy")
    for key in ("res:mine", "res:other", copy, "art:a1", "art:a2", "ctx:mine"):
        await standalone_client.execute("SET", key, leak, "EX", 60)
    await standalone_client.execute(
        "SET", keys.artifact_meta("a1"), json.dumps({"labels": {"tenant_id": "acme"}}), "EX", 60
    )
    pointers = [
        "res:mine",
        copy,
        "art:a1",
        "res:other",
        "art:a2",
        "ctx:mine",
        "res:mine:redacted:zz",
        "res:gone",
    ]
    requests = [
        OutputCheckRequest(
            job_id="gone" if key == "res:gone" else "mine",
            tenant="acme",
            topic="job.a",
            result_ptr=f"redis://{key}",
        )
        for key in pointers
    ]
    answer = await ask(client, *requests)
    assert [decided(answer, at).decision for at in range(3)] == [QUARANTINE] * 3
    assert [(item.code, item.error) for item in answer.items[3:7]] == [(9, "invalid pointer")] * 4
    assert (answer.items[7].code, answer.items[7].error) == (5, "output content missing")


async def test_artifacts_are_read_where_a_rule_asks_for_them(
    client: PolicyClient, standalone_client: RedisClient
) -> None:
    redis = standalone_client
    names = [f"{name}-{secrets.token_hex(4)}" for name in ("clean", "bad", "foreign", "bare")]
    for name, text, tenant in zip(names, ("fine", f"key {AWS}", f"key {AWS}", "x"), "tts", strict=False):
        await redis.execute("SET", f"art:{name}", text, "EX", 60)
        meta = json.dumps({"content_type": "text/plain", "labels": {"tenant_id": tenant}})
        await redis.execute("SET", f"art:meta:{name}", meta, "EX", 60)
    await redis.execute("SET", f"art:{names[3]}", "no labels", "EX", 60)
    clean, bad, foreign, bare = (f"redis://art:{name}" for name in names)
    cases: list[tuple[list[str], int, str]] = [
        ([clean], ALLOW, ""),
        ([clean, bad], QUARANTINE, "AWS access key id"),
        ([foreign], QUARANTINE, "artifact: invalid pointer"),
        ([bare], QUARANTINE, "artifact: invalid pointer"),
        (["redis://res:j"], QUARANTINE, "artifact: invalid pointer"),
        (["redis://art:gone"], QUARANTINE, "artifact: invalid pointer"),
    ]
    requests = [
        OutputCheckRequest(job_id="j", topic="job.files", tenant="t", artifact_ptrs=pointers)
        for pointers, _, _ in cases
    ]
    answer = await ask(client, *requests)
    for at, (pointers, decision, detail) in enumerate(cases):
        response = decided(answer, at)
        assert (response.decision, [one.detail for one in response.findings]) == (
            decision,
            [detail] if detail else [],
        ), pointers
    elsewhere = OutputCheckRequest(job_id="j", topic="job.mail", tenant="t", artifact_ptrs=[bad])
    assert decided(await ask(client, elsewhere)).decision == ALLOW


async def test_a_call_reads_only_so_much_of_artifacts(
    client: PolicyClient, standalone_client: RedisClient
) -> None:
    name = f"large-{secrets.token_hex(4)}"
    await standalone_client.execute("SET", f"art:{name}", b"- " * (2 * MIB) + AWS.encode(), "EX", 60)
    meta = json.dumps({"labels": {"tenant_id": "t"}})
    await standalone_client.execute("SET", keys.artifact_meta(name), meta, "EX", 60)
    request = OutputCheckRequest(
        job_id="j", topic="job.files", tenant="t", artifact_ptrs=[f"redis://art:{name}"]
    )
    answer = await ask(client, *[request] * 5)
    assert [item.code for item in answer.items] == [0, 0, 0, 0, 10]
    assert decided(answer).decision == QUARANTINE
    # What is left out between both ends is told.
    assert [one.type for one in decided(answer).findings] == ["secret_leak", "content_truncated"]
    await standalone_client.execute("DEL", f"art:{name}", keys.artifact_meta(name))
    await standalone_client.execute("LPUSH", f"art:{name}", "x")
    await standalone_client.execute("SET", keys.artifact_meta(name), meta, "EX", 60)
    (finding,) = decided(await ask(client, request)).findings
    assert finding.detail == "artifact: invalid pointer"
    await standalone_client.execute("DEL", f"art:{name}", keys.artifact_meta(name))


async def test_a_large_result_is_scanned_at_both_ends_and_says_so(
    client: PolicyClient, standalone_client: RedisClient
) -> None:
    size = 6 * MIB
    await standalone_client.execute(
        "SET", "res:end", b"." * (size - 40) + f" {AWS} ".encode() + b"." * 18, "EX", 60
    )
    await standalone_client.execute("SET", "res:middle", b"." * (size // 2) + b"x" * (size // 2), "EX", 60)
    answer = await ask(
        client,
        *(
            OutputCheckRequest(
                job_id=name, topic="job.a", result_ptr=f"redis://res:{name}", output_size_bytes=size
            )
            for name in ("end", "middle")
        ),
    )
    end, middle = decided(answer, 0), decided(answer, 1)
    assert end.decision == QUARANTINE
    assert (end.findings[0].offset, end.findings[0].length) == (size - 39, 20)
    assert middle.decision == ALLOW
    assert [finding.type for finding in middle.findings] == ["content_truncated"]


async def test_a_dry_run_tells_how_each_rule_took_part(client: PolicyClient) -> None:
    request = OutputCheckRequest(topic="job.a", output_content=b"mail alice@example.com").SerializeToString()
    answer = json.loads((await client.simulate_output(request, None, 5)).result)
    assert (answer["decision"], answer["redacted"]) == ("REDACT", "mail [REDACTED]")
    assert answer["trace"] == [
        {"rule_id": "stop", "matched": False, "why": "scanners"},
        {"rule_id": "mask", "matched": True},
        {"rule_id": "files", "matched": False, "why": "topics"},
    ]
    free = [("secops/invariants", b"output_rules: [{id: free, match: {topics: [job.a]}, decision: allow}]")]
    other = json.loads((await client.simulate_output(request, free, 5)).result)
    assert (other["decision"], other["rule_id"]) == ("ALLOW", "free")
    refused = await client.simulate_output(request, [("pack/x", b"output_rules: [{id: a}]")], 5)
    assert [(p.path, p.message) for p in refused.problems] == [
        ("bundle pack/x: output_rules[0].decision", "must be one of allow, deny, quarantine, redact")
    ]


async def test_the_kernel_tells_what_its_policy_says_about_failures(client: PolicyClient) -> None:
    settings = await client.output_settings(5)
    assert (settings.is_active, settings.fail_mode) == (True, "closed")


async def test_the_time_of_scans_is_measured(kernel: KernelProcess, client: PolicyClient) -> None:
    await ask(client, OutputCheckRequest(job_id="j", topic="job.a", output_content=b"clean"))
    count = re.search(
        r'cordum_output_eval_duration_seconds_count\{.*topic="other".*\} (\d+)', kernel.metrics()
    )
    assert count is not None
    assert int(float(count[1])) > 0
