"""Published workers that accept signed packets only (protocol spec §12, §16.1)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cap.runtime import Agent, Context
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.trust_keys import SCHEDULER, TrustKeys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@asynccontextmanager
async def verifying_agent(
    stack: Stack, worker_id: str, key: ec.EllipticCurvePublicKey
) -> AsyncIterator[Agent]:
    agent = Agent(
        nats_url=stack.nats.url,
        redis_url=f"{stack.redis.url}/0",
        worker_id=worker_id,
        pool="test",
        heartbeat_interval=0.5,
        public_keys={SCHEDULER: key},
    )

    async def handle(_context: Context, payload: Any) -> Any:
        return payload

    agent.job("job.test.echo")(handle)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.close()


async def submit(http: httpx.AsyncClient) -> str:
    # Empty values are where encoders differ.
    body = {"prompt": "p", "topic": "job.test.echo", "labels": {"blank": "", "a": "b"}}
    answer = await http.post("/jobs", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


async def succeeds(http: httpx.AsyncClient, job_id: str) -> None:
    async def done() -> bool:
        return bool((await http.get(f"/jobs/{job_id}")).json().get("state") == "SUCCEEDED")

    await wait_until(done, timeout_s=20, interval_s=0.05)


async def _restart_without_memory(stack: Stack) -> None:
    """Restart the scheduler; it knows no worker that is gone."""
    (scheduler,) = stack.schedulers
    scheduler.terminate()
    async with stack.store() as jobs:
        await jobs.client.execute("DEL", "sys:workers:snapshot")
    await scheduler.start()


async def test_a_worker_that_pins_the_schedulers_key_takes_jobs_of_that_key_only(tmp_path: Path) -> None:
    keys = TrustKeys.make(tmp_path / "keys")
    options = StackOptions(environment=keys.proof_environment)
    async with running_stack(tmp_path, options) as stack, stack.http() as http:
        async with verifying_agent(stack, "pinned", keys.scheduler_key.public_key()):
            await succeeds(http, await submit(http))
        stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
        async with verifying_agent(stack, "elsewhere", stranger):
            await stack.wait_worker_known("elsewhere")
            await _restart_without_memory(stack)
            job_id = await submit(http)

            async def handed_out() -> bool:
                found: dict[str, Any] = (await http.get(f"/jobs/{job_id}")).json()
                return found.get("worker_id") == "elsewhere" and found["state"] == "DISPATCHED"

            await wait_until(handed_out)
        keys.replace_proof_key()
        await _restart_without_memory(stack)
        async with verifying_agent(stack, "pinned", keys.scheduler_key.public_key()):
            await succeeds(http, await submit(http))


async def test_a_scheduler_with_half_a_key_does_not_start(tmp_path: Path) -> None:
    keys = TrustKeys.make(tmp_path / "keys")
    environment = keys.proof_environment
    (tmp_path / "keys" / "proof.pub.pem").write_bytes(b"no key")
    stack = Stack(tmp_path, StackOptions(environment=environment))
    stack.redis.start()
    stack.nats.start()
    try:
        (scheduler,) = stack.schedulers
        scheduler.launch()
        await wait_until(lambda: not scheduler.is_running, timeout_s=30)
        assert "CORDUM_HANDSHAKE_PUBLIC_KEY_FILE: expected a P-256 public key in PEM" in scheduler.tail()
    finally:
        stack.stop()
