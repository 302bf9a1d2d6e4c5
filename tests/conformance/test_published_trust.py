"""Published workers that shake hands, in warn and enforce, against every mode of ours (protocol spec §12, §14, §15)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cap.worker_trust_runtime import WorkerTrustRuntimeError
from cryptography.hazmat.primitives.asymmetric import ec

from cordum.runtime.clock import utc_now
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.trust_keys import KEY_ID, TrustKeys
from tests.support.trusting_agent import (
    enrol,
    make_agent,
    session_ends,
    started,
    stored_session,
    trust_config,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

P256 = ec.SECP256R1()


async def submit(http: httpx.AsyncClient, topic: str = "job.test.echo") -> str:
    answer = await http.post("/jobs", json={"prompt": "p", "topic": topic, "labels": {"blank": ""}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


async def state_of(http: httpx.AsyncClient, job_id: str) -> str:
    return str((await http.get(f"/jobs/{job_id}")).json().get("state"))


async def completes(http: httpx.AsyncClient, topic: str = "job.test.echo") -> str:
    job_id = await submit(http, topic)

    async def done() -> bool:
        return await state_of(http, job_id) == "SUCCEEDED"

    await wait_until(done, timeout_s=30, interval_s=0.05)
    return job_id


@pytest.mark.parametrize("server", ["", "warn", "enforce"])
@pytest.mark.parametrize("worker", ["warn", "enforce"])
async def test_a_worker_that_shakes_hands_completes_jobs(tmp_path: Path, server: str, worker: str) -> None:
    keys = TrustKeys.make(tmp_path / "keys")
    options = StackOptions(environment=keys.environment(server))
    async with running_stack(tmp_path, options) as stack, stack.http() as http:
        key = ec.generate_private_key(P256)
        await enrol(stack, "w-1", key)
        agent, handled = make_agent(stack, trust_config(keys, "w-1", key), worker)
        async with started(agent):
            assert await completes(http) in handled
            claims: dict[str, Any] = jwt.decode(agent.session_token, options={"verify_signature": False})
            header = jwt.get_unverified_header(agent.session_token)
            assert header == {"alg": "EdDSA", "kid": "session-v1", "typ": "cordum-session"}
            expected = {
                "iss": "cordum",
                "aud": "cordum-scheduler",
                "sub": "w-1",
                "agent": "agent-1",
                "tenant": "default",
                "key": "proof-1",
                "sdk": "cap-python/test",
            }
            assert {name: claims[name] for name in expected} == expected
            assert claims["exp"] - claims["iat"] == 3_600
            session = await stored_session(stack, "w-1")
            assert (session["jti"], session["exp_unix"]) == (claims["jti"], str(claims["exp"]))
            await stack.wait_worker_known("w-1")
            shown = (await http.get("/workers/w-1")).json()
            assert (shown["session_state"], shown["session_valid"]) == ("valid", True)
            valid = await stack.schedulers[0].metric(
                "cordum_scheduler_worker_session_valid", worker_id="w-1", tenant="default"
            )
            assert valid == 1.0
            accepted = await stack.schedulers[0].metric("cordum_worker_handshake_total", outcome="accepted")
            assert accepted == 1.0


@pytest.fixture
async def enforcing(tmp_path: Path) -> AsyncIterator[tuple[Stack, TrustKeys]]:
    """A system that asks every worker for a session."""
    keys = TrustKeys.make(tmp_path / "keys")
    environment = {**keys.environment("enforce"), "WORKER_SNAPSHOT_INTERVAL": "200ms"}
    async with running_stack(tmp_path, StackOptions(environment=environment)) as stack:
        yield stack, keys


async def test_who_cannot_prove_who_it_is_does_not_start(enforcing: tuple[Stack, TrustKeys]) -> None:
    stack, keys = enforcing
    key, stranger = ec.generate_private_key(P256), ec.generate_private_key(P256)
    await enrol(stack, "w-1", key)
    await enrol(stack, "w-gone", key)
    async with stack.http() as http:
        await http.delete("/workers/credentials/w-gone")
    refused = {
        "a wrong key": trust_config(keys, "w-1", stranger),
        "an unknown worker": trust_config(keys, "w-9", key),
        "a revoked credential": trust_config(keys, "w-gone", key),
        "another key id": trust_config(keys, "w-1", key, proof_key_id="proof-2"),
        "another agent than ours": trust_config(keys, "w-1", key, expected_agent_id="agent-2"),
        "another tenant than ours": trust_config(keys, "w-1", key, tenant_id="acme"),
        "another scheduler's key": trust_config(
            keys, "w-1", key, scheduler_public_keys={KEY_ID: stranger.public_key()}
        ),
    }
    for why, config in refused.items():
        for mode in ("warn", "enforce"):
            agent, _ = make_agent(stack, config, mode)
            began = utc_now()
            with pytest.raises(WorkerTrustRuntimeError):
                await agent.start()
            # An explicit answer: nobody waits for a time-out.
            assert (utc_now() - began).total_seconds() < 4, why
    assert await stored_session(stack, "w-1") == {}


async def test_where_sessions_are_asked_for_a_plain_worker_gets_nothing(
    enforcing: tuple[Stack, TrustKeys],
) -> None:
    stack, keys = enforcing
    key = ec.generate_private_key(P256)
    token = await enrol(stack, "w-1", key)
    from cap.heartbeat import heartbeat_payload

    plain, plain_handled = make_agent(
        stack,
        None,
        "off",
        worker_id="w-1",
        heartbeat_payload_fn=lambda: heartbeat_payload("w-1", "test", 0, 4, 0.0, auth_token=token),
    )
    async with stack.http() as http, started(plain):

        async def refused() -> bool:
            name = "cordum_bus_rejected_packets_total"
            return await stack.schedulers[0].metric(name, reason="missing") >= 2

        await wait_until(refused)
        job_id = await submit(http)
        trusting, handled = make_agent(stack, trust_config(keys, "w-2", key), "enforce")
        await enrol(stack, "w-2", key)
        async with started(trusting):

            async def done() -> bool:
                return await state_of(http, job_id) == "SUCCEEDED"

            await wait_until(done, timeout_s=30)
        assert (job_id in handled, plain_handled) == (True, [])


async def test_a_session_is_renewed_and_outlives_restarts_of_scheduler_and_bus(
    enforcing: tuple[Stack, TrustKeys],
) -> None:
    stack, keys = enforcing
    key = ec.generate_private_key(P256)
    await enrol(stack, "w-1", key)
    agent, handled = make_agent(stack, trust_config(keys, "w-1", key), "enforce")
    async with stack.http() as http, started(agent):
        first = agent.session_token
        await completes(http)
        before = await stored_session(stack, "w-1")
        assert await agent._worker_trust.renew()
        after = await stored_session(stack, "w-1")
        assert (after["prev_jti"], after["jti"] != before["jti"]) == (before["jti"], True)
        assert agent.session_token != first
        assert session_ends(agent) > utc_now()
        await completes(http)
        (scheduler,) = stack.schedulers
        scheduler.kill()
        job_id = await submit(http)
        await scheduler.start()

        async def done() -> bool:
            return await state_of(http, job_id) == "SUCCEEDED"

        await wait_until(done, timeout_s=30)
        assert job_id in handled
        renewed = agent.session_token
        stack.nats.stop()
        stack.nats.start()

        async def again() -> bool:
            return bool(agent.session_token) and agent.session_token != renewed

        await wait_until(again, timeout_s=30)
        await completes(http)


async def test_a_revoked_session_ends_at_once_and_its_results_do_not_count(
    enforcing: tuple[Stack, TrustKeys],
) -> None:
    stack, keys = enforcing
    key = ec.generate_private_key(P256)
    await enrol(stack, "w-1", key)
    agent, handled = make_agent(stack, trust_config(keys, "w-1", key), "enforce")
    async with stack.http() as http, started(agent):
        await completes(http)
        await stack.wait_worker_known("w-1")
        answer = await http.post("/workers/w-1/revoke-session")
        assert (answer.status_code, answer.json()) == (
            200,
            {"worker_id": "w-1", "tenant": "default", "revoked": True},
        )
        assert (await http.get("/workers/w-1")).json()["session_state"] == "session_revoked"

        async def noticed() -> bool:
            name = "cordum_bus_rejected_packets_total"
            return await stack.schedulers[0].metric(name, reason="revoked_token") >= 1

        await wait_until(noticed)
        count = len(handled)
        job_id = await submit(http)

        async def parked() -> bool:
            return await stack.schedulers[0].metric("cordum_scheduler_parks_total", cause="no_workers") >= 1

        await wait_until(parked)
        with pytest.raises(WorkerTrustRuntimeError):
            await agent._worker_trust.renew()
        assert len(handled) == count
        fresh, fresh_handled = make_agent(stack, trust_config(keys, "w-1", key), "enforce")
        async with started(fresh):

            async def done() -> bool:
                return await state_of(http, job_id) == "SUCCEEDED"

            await wait_until(done, timeout_s=30)
            assert job_id in [*fresh_handled, *handled]
        kinds = {"event_type": "worker_trust_change"}

        async def told() -> bool:
            events = (await http.get("/audit/events", params=kinds)).json()["items"]
            return {"credential_issued", "issued", "session_revoked"} <= {event["action"] for event in events}

        await wait_until(told)


async def test_a_worker_in_warn_starts_without_us_and_needs_us_off_to_do_so(tmp_path: Path) -> None:
    keys = TrustKeys.make(tmp_path / "keys")
    options = StackOptions(environment=keys.environment("off"))
    async with running_stack(tmp_path, options) as stack, stack.http() as http:
        key = ec.generate_private_key(P256)
        agent, handled = make_agent(stack, trust_config(keys, "w-1", key), "warn")
        async with started(agent):
            assert agent.session_token == ""
            assert await completes(http) in handled


async def test_submits_and_cancels_of_strangers_do_not_count_where_sessions_are_asked_for(
    enforcing: tuple[Stack, TrustKeys],
) -> None:
    from cap.client import submit_job
    from cap.progress import cancel_payload, emit_cancel

    from cordum.protocol.cap import JobRequest
    from cordum.store.blobs import BlobStore

    stack, keys = enforcing
    key = ec.generate_private_key(P256)
    await enrol(stack, "w-1", key)
    agent, handled = make_agent(stack, trust_config(keys, "w-1", key), "enforce")
    client = await connect(stack.nats.url)
    async with stack.http() as http, stack.store() as jobs, started(agent):
        for name, token in (("stranger", ""), ("w-1", agent.session_token)):
            pointer = await BlobStore(jobs.client, 600).set_context(f"of-{name}", b"{}")
            request = JobRequest(job_id=f"of-{name}", topic="job.test.echo", context_ptr=pointer)
            await submit_job(client, request, "trace", name, session_token=token or None)

        async def done() -> bool:
            return await state_of(http, "of-w-1") == "SUCCEEDED"

        await wait_until(done)
        assert await jobs.get("of-stranger") is None
        waiting = await submit(http, "job.test.review")
        await emit_cancel(client, cancel_payload("stranger", waiting, "because", "stranger"))
        await client.flush()

        async def refused() -> bool:
            name = "cordum_bus_rejected_packets_total"
            return await stack.schedulers[0].metric(name, reason="missing") >= 2

        await wait_until(refused)
        assert await state_of(http, waiting) == "APPROVAL_REQUIRED"
        assert handled == ["of-w-1"]
    await client.close()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CORDUM_SDK_HANDSHAKE": "enforce"}, "CORDUM_SDK_HANDSHAKE: `enforce` expects the proof key"),
        ({"CORDUM_SDK_HANDSHAKE": "sometimes"}, "CORDUM_SDK_HANDSHAKE: expected"),
        ({"CORDUM_HEARTBEAT_MODE": "pulse"}, "CORDUM_HEARTBEAT_MODE: expected"),
        ({"CORDUM_HEARTBEAT_MODE": "telemetry"}, "CORDUM_HEARTBEAT_MODE: `telemetry` expects"),
        (
            {"CORDUM_HEARTBEAT_MODE": "warn", "CORDUM_SDK_HANDSHAKE": "off"},
            "CORDUM_HEARTBEAT_MODE: `warn` expects",
        ),
        ({"WORKER_ATTESTATION": "maybe"}, "WORKER_ATTESTATION: expected"),
    ],
)
async def test_a_scheduler_that_could_not_keep_its_word_does_not_start(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    stack = Stack(tmp_path, StackOptions(environment=environment))
    stack.redis.start()
    stack.nats.start()
    try:
        (scheduler,) = stack.schedulers
        scheduler.launch()
        await wait_until(lambda: not scheduler.is_running, timeout_s=30)
        assert message in scheduler.tail()
    finally:
        stack.stop()
