"""The rows of the fail-closed checklist that one kernel process shows (policy spec §23; docs/fail-closed.md)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse, safety_pb2, safety_pb2_grpc
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from tests.support.kernel import ALLOW_ECHO, KernelProcess

DENY = safety_pb2.DECISION_TYPE_DENY
ALLOW = safety_pb2.DECISION_TYPE_ALLOW
SCOPE = """\
default_decision: allow
input_rules:
  - id: stays-inside
    match:
      topics: [job.*]
      scope:
        instruction_path: ask
        items_path: things
        category_path: kind
        name_path: name
        allowed_categories: {buy fruit: [apple]}
"""


@asynccontextmanager
async def _kernel(folder: Path, policy: str) -> AsyncIterator[safety_pb2_grpc.SafetyKernelStub]:
    process = KernelProcess(folder, policy)
    process.start()
    try:
        async with grpc.aio.insecure_channel(process.address) as channel:
            yield safety_pb2_grpc.SafetyKernelStub(channel)
    finally:
        process.stop()


async def _ask(stub: safety_pb2_grpc.SafetyKernelStub, **members: object) -> PolicyCheckResponse:
    question = PolicyCheckRequest(**{"job_id": "j", "topic": "job.demo.echo", "tenant": "default", **members})
    return await stub.Check(question, timeout=5)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("{}", id="no policy at all"),
        pytest.param("rules: [{id: mute, match: {topics: ['job.*']}}]", id="rule without decision"),
        pytest.param("default_decision: throttle\nrules: []", id="no rule matches"),
    ],
)
async def test_what_says_nothing_allows_nothing(tmp_path: Path, policy: str) -> None:
    async with _kernel(tmp_path, policy) as stub:
        assert (await _ask(stub)).decision not in {ALLOW, safety_pb2.DECISION_TYPE_ALLOW_WITH_CONSTRAINTS}


async def test_an_effective_configuration_nobody_can_read_denies(tmp_path: Path) -> None:
    async with _kernel(tmp_path, ALLOW_ECHO) as stub:
        assert (await _ask(stub)).decision == ALLOW
        for config in (b"unreadable", b"[]", b'{"safety": "off"}', b'{"safety": {"denied_topics": "x"}}'):
            answer = await _ask(stub, effective_config=config)
            assert (answer.decision, answer.reason) == (DENY, "invalid effective config"), config


async def test_a_scope_rule_without_content_fires(tmp_path: Path) -> None:
    async with _kernel(tmp_path, SCOPE) as stub:
        answer = await _ask(stub)
        assert (answer.decision, answer.rule_id) == (DENY, "stays-inside")


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("rules: [{id: a, match: {topics: ['job.[x']}, decision: allow}]", "rules[0].match.topics[0]"),
        (
            "input_rules: [{id: a, match: {topics: ['job.*'], content_patterns: ['(']}}]",
            "input_rules[0].match.content_patterns[0]",
        ),
        ("rules: [{id: a, decision: perhaps}]", "rules[0].decision"),
    ],
)
async def test_a_document_with_a_fault_is_named_and_everything_is_denied(
    tmp_path: Path, policy: str, named: str
) -> None:
    async with _kernel(tmp_path, f"default_decision: allow\n{policy}") as stub:
        assert (await _ask(stub)).decision == DENY
    assert named in (tmp_path / "kernel.log").read_text()


async def test_a_broken_enabled_bundle_stops_the_start_and_is_named(
    tmp_path: Path, redis_url: str, standalone_client: RedisClient
) -> None:
    await standalone_client.execute("FLUSHALL")
    bundles = {"secops/broken": {"content": "rules: 3"}}
    await ConfigDocuments(standalone_client).update(
        "system", "policy", lambda _: {"bundles": bundles}, updated_at="2025-01-01T00:00:00Z"
    )
    kernel = KernelProcess(
        tmp_path, SAFETY_POLICY_CONFIG_DISABLE="", REDIS_URL=redis_url, NATS_URL="nats://127.0.0.1:1"
    )
    assert kernel.launch().wait(timeout=20) == 1
    assert "secops/broken" in kernel.log_path.read_text()
    await standalone_client.execute("FLUSHALL")
