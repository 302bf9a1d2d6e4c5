"""Bundles from Redis with real kernel processes (policy spec §8, §9, §10, §25.4)."""

import hashlib
import os
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest

from cordum.config.redis import RedisSettings
from cordum.protocol.cap import safety_pb2, safety_pb2_grpc
from cordum.security.policy_signatures import Signer
from cordum.store import keys
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.policy_bundles import bundles_snapshot, parse_bundles
from tests.integration.kernel.test_kernel_service import ALLOW, request
from tests.support.kernel import ALLOW_ECHO, KernelProcess
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer

DENY = safety_pb2.DECISION_TYPE_DENY
STOP = "rules:\n  - {id: stop-echo, match: {topics: [job.demo.echo]}, decision: deny, reason: stopped}\n"
INVARIANT = "secops/invariants"
AT = "2025-01-01T00:00:00Z"


@pytest.fixture
async def store(standalone_client: RedisClient) -> ConfigDocuments:
    await standalone_client.execute("FLUSHALL")
    return ConfigDocuments(standalone_client)


async def put(store: ConfigDocuments, bundles: dict[str, Any]) -> None:
    await store.update("system", "policy", lambda _: {"bundles": bundles}, updated_at=AT)


def kernel_with(folder: Path, redis_url: str, **environment: str) -> KernelProcess:
    return KernelProcess(
        folder,
        **{
            "SAFETY_POLICY_CONFIG_DISABLE": "",
            "REDIS_URL": redis_url,
            "NATS_URL": "nats://127.0.0.1:1",
            **environment,
        },
    )


async def decide(kernel: KernelProcess) -> safety_pb2.PolicyCheckResponse:
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        return await safety_pb2_grpc.SafetyKernelStub(channel).Check(request(), timeout=5)


async def snapshots(kernel: KernelProcess) -> list[str]:
    async with grpc.aio.insecure_channel(kernel.address) as channel:
        stub = safety_pb2_grpc.SafetyKernelStub(channel)
        return list((await stub.ListSnapshots(safety_pb2.ListSnapshotsRequest(), timeout=5)).snapshots)


async def test_a_bundle_joins_the_policy_and_leaves_it_again(
    tmp_path: Path, redis_url: str, store: ConfigDocuments, standalone_client: RedisClient
) -> None:
    kernel = kernel_with(tmp_path, redis_url)
    kernel.start()
    try:
        alone = await decide(kernel)
        assert alone.decision == ALLOW

        async def answers(decision: int) -> bool:
            return (await decide(kernel)).decision == decision

        bundles: dict[str, Any] = {
            INVARIANT: {"content": STOP},
            "pack/off": {"content": "nonsense", "enabled": "no"},
        }
        await put(store, bundles)
        await wait_until(lambda: answers(DENY))
        stopped = await decide(kernel)
        assert stopped.rule_id == "stop-echo"
        assert (
            stopped.policy_snapshot == f"{alone.policy_snapshot}|{bundles_snapshot(parse_bundles(bundles))}"
        )
        expected = hashlib.sha256(INVARIANT.encode() + b"\0" + STOP.encode()).hexdigest()
        assert stopped.policy_snapshot.endswith(f"|cfg:{expected}")
        bundles[INVARIANT]["enabled"] = False
        await put(store, bundles)
        await wait_until(lambda: answers(ALLOW))
        assert (await snapshots(kernel))[:2] == [alone.policy_snapshot, stopped.policy_snapshot]
        stored = await standalone_client.execute("LRANGE", keys.SAFETY_SNAPSHOTS, 0, -1)
        assert [entry.decode() for entry in stored] == [
            alone.policy_snapshot,
            stopped.policy_snapshot,
            alone.policy_snapshot,
        ]
    finally:
        kernel.stop()


async def test_a_broken_enabled_bundle_changes_nothing_and_stops_the_next_start(
    tmp_path: Path, redis_url: str, store: ConfigDocuments
) -> None:
    await put(store, {INVARIANT: STOP})
    kernel = kernel_with(tmp_path, redis_url)
    kernel.start()
    try:
        assert (await decide(kernel)).decision == DENY
        await put(store, {INVARIANT: STOP, "pack/x": {"content": "rules: [{decision: maybe}]"}})
        await wait_until(lambda: "policy load error" in kernel.log_path.read_text())
        assert (await decide(kernel)).rule_id == "stop-echo"
        assert kernel.probe("readyz") == 200
    finally:
        kernel.stop()
    assert kernel.launch().wait(30) == 1
    log = kernel.log_path.read_text()
    assert "policy parse error" in log
    assert "bundle pack/x: rules[0].decision" in log
    skipping = kernel_with(tmp_path, redis_url, SAFETY_POLICY_MALFORMED_BUNDLE="skip")
    skipping.start()
    try:
        assert (await decide(skipping)).rule_id == "stop-echo"
    finally:
        skipping.stop()


async def test_bundles_that_were_read_survive_the_loss_of_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    (tmp_path / "redis").mkdir(exist_ok=True)
    server.start()
    kernel = kernel_with(tmp_path, server.url)
    try:
        client = await RedisClient.open(RedisSettings(url=server.url))
        await put(ConfigDocuments(client), {INVARIANT: STOP})
        await client.close()
        kernel.start()
        assert (await decide(kernel)).decision == DENY
        server.kill()
        await wait_until(lambda: "policy load error" in kernel.log_path.read_text())
        assert (await decide(kernel)).rule_id == "stop-echo"
    finally:
        kernel.stop()
        server.stop()


async def test_the_mirror_is_the_policy_only_while_the_document_does_not_exist(
    tmp_path: Path, redis_url: str, store: ConfigDocuments, standalone_client: RedisClient
) -> None:
    await standalone_client.execute(
        "SET", keys.POLICIES_MIRROR, orjson.dumps({"revision": 1, "bundles": {INVARIANT: STOP}})
    )
    kernel = kernel_with(tmp_path, redis_url)
    kernel.start()
    try:
        assert (await decide(kernel)).decision == DENY
        await put(store, {})

        async def allows() -> bool:
            return (await decide(kernel)).decision == ALLOW

        await wait_until(allows)
    finally:
        kernel.stop()


async def test_enforced_signatures_refuse_an_unsigned_bundle_and_take_a_signed_one(
    tmp_path: Path, redis_url: str, store: ConfigDocuments
) -> None:
    signer = Signer.from_seed("development", "ops")
    raw = signer.key.public_key().public_bytes_raw()  # type: ignore[union-attr]
    kernel = kernel_with(
        tmp_path, redis_url, CORDUM_POLICY_STRICT="enforce", CORDUM_POLICY_PUBLIC_KEY_OPS=raw.hex()
    )
    await put(store, {INVARIANT: STOP})
    assert kernel.launch().wait(30) == 1
    assert "policy_signature_rejected" in kernel.log_path.read_text()
    await put(store, {INVARIANT: {"content": STOP, "_signature": signer.sign(STOP.encode())}})
    kernel.start()
    try:
        assert (await decide(kernel)).rule_id == "stop-echo"
        assert kernel.policy_path.read_text() == ALLOW_ECHO
    finally:
        kernel.stop()


def test_without_redis_the_base_is_served_alone_outside_production(tmp_path: Path) -> None:
    kernel = KernelProcess(
        tmp_path,
        SAFETY_POLICY_CONFIG_DISABLE="",
        REDIS_URL="redis://127.0.0.1:1",
        NATS_URL="nats://127.0.0.1:1",
        **{name: "" for name in os.environ if name.startswith("REDIS_CLUSTER")},
    )
    kernel.start()
    try:
        assert kernel.probe("readyz") == 200
        assert "serving the base alone" in kernel.log_path.read_text()
    finally:
        kernel.stop()
