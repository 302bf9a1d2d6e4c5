"""The safety kernel as a process: gRPC round trips, reload, failures, drain."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cordum.config.kernel import KernelSettings
from cordum.domain.errors import ConfigError
from cordum.kernel.main import first_load
from cordum.kernel.snapshots import PolicyStore
from cordum.kernel.source import FileSource
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse, safety_pb2, safety_pb2_grpc
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import utc_now
from cordum.v1 import safety_batch_pb2, safety_batch_pb2_grpc
from tests.support.kernel import ALLOW_ECHO, KernelProcess
from tests.support.processes import wait_until

ALLOW = safety_pb2.DECISION_TYPE_ALLOW
DENY = safety_pb2.DECISION_TYPE_DENY
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CLOSED = ALLOW_ECHO.replace("decision: allow", "decision: deny")
NO_POLICY = "no policy loaded — fail-closed"


def request(topic: str = "job.demo.echo", job_id: str = "j1") -> PolicyCheckRequest:
    return PolicyCheckRequest(job_id=job_id, topic=topic, tenant="default", principal_id="alice")


@asynccontextmanager
async def channel(kernel: KernelProcess) -> AsyncIterator[grpc.aio.Channel]:
    limit = 9 * 1024 * 1024
    options = [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]
    async with grpc.aio.insecure_channel(kernel.address, options=options) as opened:
        yield opened


async def check(kernel: KernelProcess, topic: str = "job.demo.echo") -> PolicyCheckResponse:
    async with channel(kernel) as opened:
        return await safety_pb2_grpc.SafetyKernelStub(opened).Check(request(topic), timeout=5)


async def health(kernel: KernelProcess, service: str = "") -> int:
    async with channel(kernel) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status)


async def evaluate_batch(kernel: KernelProcess, requests: list[bytes]) -> safety_batch_pb2.BatchResponse:
    async with channel(kernel) as opened:
        stub = safety_batch_pb2_grpc.SafetyKernelBatchStub(opened)
        return await stub.EvaluateBatch(safety_batch_pb2.BatchRequest(requests=requests), timeout=5)


@pytest.mark.parametrize("method", ["Check", "Evaluate", "Simulate", "Explain"])
async def test_the_published_stub_gets_allow_and_deny_with_rule_and_snapshot(
    kernel: KernelProcess, method: str
) -> None:
    async with channel(kernel) as opened:
        call = getattr(safety_pb2_grpc.SafetyKernelStub(opened), method)
        allowed = await call(request(), timeout=5)
        denied = await call(request("job.demo.other"), timeout=5)

    assert (allowed.decision, allowed.rule_id) == (ALLOW, "allow-echo")
    assert denied.decision == DENY
    assert allowed.policy_snapshot == denied.policy_snapshot != ""


async def test_a_batch_answers_every_item_in_order_under_one_snapshot(kernel: KernelProcess) -> None:
    topics = ["job.demo.echo" if n % 3 else "job.demo.other" for n in range(512)]
    answer = await evaluate_batch(kernel, [request(topic).SerializeToString() for topic in topics])

    decisions = [PolicyCheckResponse.FromString(item.response).decision for item in answer.items]
    assert decisions == [ALLOW if topic.endswith("echo") else DENY for topic in topics]
    assert answer.policy_snapshot == (await check(kernel)).policy_snapshot


async def test_a_broken_item_fails_alone(kernel: KernelProcess) -> None:
    good = request().SerializeToString()
    answer = await evaluate_batch(kernel, [good, b"\xff\xff\xff", good])

    assert [item.code for item in answer.items] == [0, grpc.StatusCode.INVALID_ARGUMENT.value[0], 0]
    assert answer.items[1].response == b""
    assert PolicyCheckResponse.FromString(answer.items[2].response).decision == ALLOW


async def test_a_batch_of_several_megabytes_is_answered_and_others_are_served_meanwhile(
    kernel: KernelProcess,
) -> None:
    heavy = request()
    heavy.input_content = b"x" * 1_000_000
    async with asyncio.TaskGroup() as group:
        large = group.create_task(evaluate_batch(kernel, [heavy.SerializeToString()] * 6))
        small = group.create_task(check(kernel))

    assert [item.code for item in large.result().items] == [0] * 6
    assert small.result().decision == ALLOW


@pytest.mark.parametrize(
    "requests",
    [[b"\x0a\x01j"] * 513, [b"x" * 1_500_000] * 5],
    ids=["513 items", "over 7 MiB"],
)
async def test_a_batch_over_its_limits_is_refused(kernel: KernelProcess, requests: list[bytes]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await evaluate_batch(kernel, requests)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff"], ids=["empty", "garbage"])
async def test_a_request_that_is_none_is_refused(kernel: KernelProcess, body: bytes) -> None:
    async with channel(kernel) as opened:
        call = opened.unary_unary("/cordum.agent.v1.SafetyKernel/Check")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(body, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_not_built_says_so(kernel: KernelProcess) -> None:
    async with channel(kernel) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await opened.unary_unary("/cordum.agent.v1.PolicyEvaluator/EvaluateUnified")(b"x", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_changed_policy_decides_without_restart_and_snapshots_are_listed_newest_first(
    kernel: KernelProcess,
) -> None:
    before = await check(kernel)
    kernel.write_policy(CLOSED)

    async def denies() -> bool:
        return bool((await check(kernel)).decision == DENY)

    await wait_until(denies)
    after = await check(kernel)
    async with channel(kernel) as opened:
        listed = await safety_pb2_grpc.SafetyKernelStub(opened).ListSnapshots(
            safety_pb2.ListSnapshotsRequest()
        )

    assert list(listed.snapshots) == [after.policy_snapshot, before.policy_snapshot]
    assert f'snapshot="{after.policy_snapshot}"' in kernel.metrics()
    assert f'snapshot="{before.policy_snapshot}"' not in kernel.metrics()


@pytest.mark.parametrize("broken", ["rules: [", "", "rules: 7\n"], ids=["syntax", "empty", "shape"])
async def test_a_broken_reload_keeps_the_last_good_policy(kernel: KernelProcess, broken: str) -> None:
    before = await check(kernel)
    kernel.write_policy(broken)

    await wait_until(
        lambda: 'reload_total{pod="' in kernel.metrics() and 'result="error"' in kernel.metrics()
    )
    after = await check(kernel)

    assert (after.decision, after.policy_snapshot) == (ALLOW, before.policy_snapshot)
    assert await health(kernel) == SERVING
    assert kernel.probe("readyz") == 200
    assert "error" in kernel.log_path.read_text()


async def test_a_pattern_that_needs_backtracking_is_refused_and_counted(kernel: KernelProcess) -> None:
    kernel.write_policy("input_rules: [{id: i, match: {content_patterns: ['(?=x)', 'fine']}}]")
    await wait_until(lambda: 'result="error"' in kernel.metrics())
    counted = re.search(r"cordum_safety_regex_rejected_total\{[^}]*\} (\S+)", kernel.metrics())
    assert counted is not None
    assert float(counted.group(1)) == 1


async def test_a_deleted_policy_file_keeps_the_last_good_policy(kernel: KernelProcess) -> None:
    kernel.policy_path.unlink()
    await wait_until(lambda: 'result="error"' in kernel.metrics())
    assert (await check(kernel)).decision == ALLOW


@pytest.fixture
def bare_kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    """A kernel that finds no policy file."""
    process = KernelProcess(tmp_path, policy=None)
    process.start()
    yield process
    process.stop()


async def test_without_policy_everything_is_denied_and_health_says_not_serving_until_one_loads(
    bare_kernel: KernelProcess,
) -> None:
    denied = await check(bare_kernel)
    batch = await evaluate_batch(bare_kernel, [request().SerializeToString()] * 2)

    assert (denied.decision, denied.reason, denied.policy_snapshot) == (DENY, NO_POLICY, "")
    assert {PolicyCheckResponse.FromString(item.response).decision for item in batch.items} == {DENY}
    assert await health(bare_kernel) == NOT_SERVING
    assert await health(bare_kernel, "cordum.agent.v1.SafetyKernel") == NOT_SERVING
    assert bare_kernel.probe("readyz") == 503

    bare_kernel.write_policy(ALLOW_ECHO)

    async def serves() -> bool:
        return await health(bare_kernel) == SERVING

    await wait_until(serves)
    assert (await check(bare_kernel)).decision == ALLOW
    assert bare_kernel.probe("readyz") == 200


async def test_a_kernel_killed_and_started_again_answers_the_same_channel(kernel: KernelProcess) -> None:
    client = PolicyClient(kernel.address)
    first = await client.evaluate_batch([request().SerializeToString()], 5)
    kernel.kill()
    assert not await client.is_serving()
    kernel.start()
    await wait_until(client.is_serving)
    second = await client.evaluate_batch([request().SerializeToString()], 5)
    await client.close()

    answers = [safety_batch_pb2.BatchResponse.FromString(raw) for raw in (first, second)]
    assert answers[0].policy_snapshot == answers[1].policy_snapshot


async def test_a_kernel_under_load_stops_cleanly_and_no_answer_is_wrong(kernel: KernelProcess) -> None:
    answered = 0
    refusals: list[grpc.StatusCode] = []
    stopped = asyncio.Event()
    batch = safety_batch_pb2.BatchRequest(requests=[request().SerializeToString()] * 64)

    async def load() -> None:
        nonlocal answered
        async with channel(kernel) as opened:
            stub = safety_batch_pb2_grpc.SafetyKernelBatchStub(opened)
            while not stopped.is_set():
                try:
                    answer = await stub.EvaluateBatch(batch, timeout=5)
                except grpc.aio.AioRpcError as error:
                    refusals.append(error.code())
                    return
                assert len(answer.items) == 64
                answered += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(load())
        await wait_until(lambda: answered > 20)
        code = await asyncio.to_thread(kernel.stop)
        stopped.set()

    assert code == 0
    # A call that arrives while the listener closes may be left without an answer.
    left_alone = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert set(refusals) <= left_alone


async def test_a_taken_address_is_one_clear_line_and_exit_one(kernel: KernelProcess, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    second = KernelProcess(folder)
    second.port = kernel.port
    assert await asyncio.to_thread(second.launch().wait, 15) == 1
    assert f"cannot listen on `{kernel.address}`" in second.log_path.read_text()


async def test_reflection_lists_the_services_only_when_enabled(kernel: KernelProcess, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    open_kernel = KernelProcess(folder, CORDUM_GRPC_REFLECTION="1")
    open_kernel.start()

    def services(address: str) -> list[str]:
        with grpc.insecure_channel(address) as opened:
            database = ProtoReflectionDescriptorDatabase(opened)
            return list(database.get_services())

    try:
        listed = await asyncio.to_thread(services, open_kernel.address)
        assert {"cordum.agent.v1.SafetyKernel", "cordum.v1.SafetyKernelBatch"} <= set(listed)
        with pytest.raises(grpc.RpcError):
            await asyncio.to_thread(services, kernel.address)
    finally:
        open_kernel.stop()


def make_certificate() -> tuple[bytes, bytes]:
    """Return a self-signed certificate for localhost and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(minutes=5))
        .not_valid_after(utc_now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


def settings(folder: Path, **changes: object) -> KernelSettings:
    return KernelSettings(policy_path=str(folder / "safety.yaml"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "cannot be read"), ("", "is empty"), ("rules: [", "parse error"), ("# long\n" * 50, "too large")],
)
async def test_production_does_not_start_without_a_good_policy(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "safety.yaml").write_text(text)
    production = settings(tmp_path, env="production", tls_cert="c.pem", tls_key="k.pem", policy_max_bytes=300)
    policies = PolicyStore(FileSource(production.policy_path, production.policy_max_bytes))

    with pytest.raises(ConfigError, match=reason):
        await first_load(policies, production)


async def test_a_load_error_names_file_line_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "safety.yaml"
    path.write_text("version: '1'\nrules:\n  - id: a\n    decision: maybe\n")
    policies = PolicyStore(FileSource(str(path), 10_000))
    assert await policies.reload() == "error"
    text = str(policies.failure)
    assert f"policy parse error in `{path}`: rules[0].decision: must be one of allow" in text
    assert text.endswith("(line 4)")


async def test_text_that_stays_broken_is_compiled_once_and_good_text_after_it_loads(tmp_path: Path) -> None:
    path = tmp_path / "safety.yaml"
    policies = PolicyStore(FileSource(str(path), 10_000))
    path.write_text("rules: [")
    assert [await policies.reload(), await policies.reload()] == ["error", "error"]
    path.unlink()
    assert await policies.reload() == "error"
    assert "cannot be read" in str(policies.failure)
    path.write_text("rules: [")
    assert await policies.reload() == "error"
    assert "parse error" in str(policies.failure)
    path.write_text(ALLOW_ECHO)
    assert [await policies.reload(), await policies.reload()] == ["ok", "unchanged"]
    assert await policies.history() == [policies.engine.snapshot]


def test_production_without_a_certificate_refuses_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDUM_ENV", "production")
    with pytest.raises(ConfigError, match="SAFETY_KERNEL_TLS_CERT"):
        KernelSettings.load()


async def test_a_kernel_with_a_certificate_serves_tls_only(tmp_path: Path) -> None:
    certificate, key = make_certificate()
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    secure = KernelProcess(
        tmp_path,
        SAFETY_KERNEL_TLS_CERT=str(tmp_path / "cert.pem"),
        SAFETY_KERNEL_TLS_KEY=str(tmp_path / "key.pem"),
    )
    secure.start()
    try:
        credentials = grpc.ssl_channel_credentials(certificate)
        async with grpc.aio.secure_channel(f"localhost:{secure.port}", credentials) as opened:
            answer = await safety_pb2_grpc.SafetyKernelStub(opened).Check(request(), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError):
            await check(secure)
    finally:
        secure.stop()
    assert answer.decision == ALLOW
