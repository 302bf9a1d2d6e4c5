"""A published agent that shakes hands, inside the test's own process, so that its session can be looked at."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from cap.runtime import Agent, Context
from cap.worker_trust import WorkerTrustConfig
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.stack import Stack
from tests.support.trust_keys import KEY_ID, SCHEDULER, TrustKeys

AGENT = "agent-1"
TENANT = "default"
PROOF_ID = "proof-1"


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the public half as a credential holds it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def enrol(
    stack: Stack, worker_id: str, key: ec.EllipticCurvePrivateKey, *, agent_id: str = AGENT, **members: Any
) -> str:
    """Make the agent and give the worker a credential with its proof key over HTTP; return the token."""
    async with stack.store() as jobs:
        await jobs.client.execute(
            "SET", f"agent:identity:{agent_id}", b'{"tenant":"default","status":"active"}'
        )
    body = {
        "worker_id": worker_id,
        "agent_id": agent_id,
        "proof_key_id": PROOF_ID,
        "proof_public_key_pem": pem_of(key),
        **members,
    }
    async with stack.http() as http:
        answer = await http.post("/workers/credentials", json=body)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["token"])


def trust_config(
    keys: TrustKeys, worker_id: str, key: ec.EllipticCurvePrivateKey, **changes: Any
) -> WorkerTrustConfig:
    """Return what the worker pins and proves."""
    members: dict[str, Any] = {
        "worker_id": worker_id,
        "expected_agent_id": AGENT,
        "tenant_id": TENANT,
        "audience": "cordum-scheduler",
        "proof_key_id": PROOF_ID,
        "proof_private_key": key,
        "expected_scheduler_id": SCHEDULER,
        "scheduler_public_keys": {KEY_ID: keys.scheduler_key.public_key()},
        "sdk_version": "cap-python/test",
    }
    return WorkerTrustConfig(**{**members, **changes})


def make_agent(
    stack: Stack, config: WorkerTrustConfig | None, mode: str, *topics: str, pool: str = "test", **more: Any
) -> tuple[Agent, list[str]]:
    """Return an agent that is not started, and the list of the jobs it handles."""
    options: dict[str, Any] = {"worker_trust_mode": mode, "worker_trust": config}
    if mode != "off":
        options |= {"worker_trust_timeout": 5.0}
    agent = Agent(
        nats_url=stack.nats.url,
        redis_url=f"{stack.redis.url}/0",
        pool=pool,
        **{
            "worker_id": config.worker_id if config is not None else "plain",
            "heartbeat_interval": 0.3,
            **options,
            **more,
        },
    )
    handled: list[str] = []

    async def handle(context: Context, payload: Any) -> Any:
        handled.append(context.job_id)
        return payload

    for topic in topics or ("job.test.echo",):
        agent.job(topic)(handle)
    return agent, handled


@asynccontextmanager
async def started(agent: Agent) -> AsyncIterator[Agent]:
    """Run an agent for the length of the block."""
    await agent.start()
    try:
        yield agent
    finally:
        await agent.close()


def session_ends(agent: Agent) -> datetime:
    """Return when the live session of an agent ends."""
    session = agent._worker_trust._session
    assert session is not None
    ends: datetime = session.expires_at
    return ends


Fields = Mapping[str, str]


async def stored_session(stack: Stack, worker_id: str) -> Fields:
    """Return the session hash of a worker."""
    async with stack.store() as jobs:
        flat = [part.decode() for part in await jobs.client.execute("HGETALL", f"session:worker:{worker_id}")]
    return dict(zip(flat[::2], flat[1::2], strict=True))
