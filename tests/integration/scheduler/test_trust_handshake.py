"""The trust handshake step by step, with requests a well-behaved worker would not send (protocol spec §14)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cap import worker_trust as cap
from cap.trust_signing import sign_trust_packet, verify_trust_packet
from cap.worker_trust_codec import marshal_worker_trust_packet, unmarshal_worker_trust_packet
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client
from nats.errors import TimeoutError as NoAnswer

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket, handshake_pb2
from cordum.protocol.trust_packets import ISSUE, RENEW, Reason
from cordum.runtime.clock import utc_now
from cordum.runtime.ids import new_id
from cordum.store.connection import RedisClient
from tests.support.credentials import store_credential
from tests.support.observer import connect
from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions, running_stack
from tests.support.trust_keys import TrustKeys
from tests.support.trusting_agent import AGENT, PROOF_ID, pem_of, trust_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

KEY = ec.generate_private_key(ec.SECP256R1())


class _Worker:
    """A worker by hand, one step at a time."""

    def __init__(self, client: Client, redis: RedisClient, keys: TrustKeys, worker_id: str) -> None:
        self.client, self.redis = client, redis
        self.config = trust_config(keys, worker_id, KEY)

    async def enrol(self, **members: Any) -> None:
        await self.redis.execute("SET", f"agent:identity:{AGENT}", b'{"tenant":"default"}')
        record = {
            "agent_id": AGENT,
            "proof_key_id": PROOF_ID,
            "proof_algorithm": "ECDSA_P256_SHA256",
            "proof_public_key_pem": pem_of(KEY),
            **members,
        }
        await store_credential(self.redis, self.client, self.config.worker_id, **record)

    def request(self, purpose: int = ISSUE, *, age_s: float = 0.0) -> BusPacket:
        options = cap.WorkerHandshakeRequestOptions(
            request_id=new_id(),
            trace_id=new_id(),
            purpose=purpose,
            client_nonce=new_id().encode()[:32],
            created_at=utc_now() - timedelta(seconds=age_s),
        )
        return cap.build_challenge_request(self.config, options)

    async def ask(self, packet: BusPacket, subject: str = subjects.TRUST_CHALLENGE) -> BusPacket:
        return await self.send(marshal_worker_trust_packet(packet), subject)

    async def send(self, data: bytes, subject: str = subjects.TRUST_CHALLENGE) -> BusPacket:
        answer = await self.client.request(subject, data, timeout=5)
        return unmarshal_worker_trust_packet(answer.data)

    async def challenged(self, purpose: int = ISSUE) -> Any:
        request = self.request(purpose)
        return cap.verify_challenge(self.config, request, await self.ask(request), utc_now())

    def signed(self, verified: Any, token: str = "") -> BusPacket:
        capability = handshake_pb2.Handshake(
            component_id=self.config.worker_id,
            role=3,
            supported_versions=[1],
            sdk_version=self.config.sdk_version,
            capabilities={"job.test.echo": True},
            ready_topics=["job.test.echo", "job.test.other"],
        )
        return cap.build_authenticate(self.config, verified, capability, token, utc_now())

    async def session(self, purpose: int = ISSUE, token: str = "") -> Any:
        verified = await self.challenged(purpose)
        authenticate = self.signed(verified, token)
        answer = await self.ask(authenticate, subjects.TRUST_AUTHENTICATE)
        return cap.verify_result(self.config, verified, authenticate, answer, utc_now())

    def reason_of(self, answer: BusPacket) -> int:
        """Return why a request was rejected; the rejection must be one that a worker believes."""
        verify_trust_packet(answer, self.config.scheduler_public_keys)
        assert answer.sender_id == self.config.expected_scheduler_id
        assert not answer.worker_handshake_result.accepted
        assert answer.auth_token == ""
        return int(answer.worker_handshake_result.rejection_reason)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[tuple[Stack, TrustKeys, Client, RedisClient]]:
    """A scheduler that answers, without gateway."""
    keys = TrustKeys.make(tmp_path / "keys")
    options = StackOptions(gateway=False, environment=keys.environment("enforce"))
    async with running_stack(tmp_path, options) as stack, stack.store() as jobs:
        client = await connect(stack.nats.url)
        yield stack, keys, client, jobs.client
        await client.close()


async def eventually_enrolled(worker: _Worker, **members: Any) -> None:
    """Enrol and wait until the scheduler knows."""
    await worker.enrol(**members)

    async def known() -> bool:
        answer = await worker.ask(worker.request())
        return bool(answer.HasField("worker_handshake_challenge"))

    await wait_until(known, interval_s=0.3)


async def test_every_step_refuses_what_it_has_to(
    system: tuple[Stack, TrustKeys, Client, RedisClient],
) -> None:
    _, keys, client, redis = system
    worker = _Worker(client, redis, keys, "w-1")
    await eventually_enrolled(worker, allowed_topics=("job.test.echo",))

    # The first step.
    late = await worker.ask(worker.request(age_s=62))
    assert worker.reason_of(late) == Reason.CLOCK_SKEW
    request = worker.request()
    assert (await worker.ask(request)).HasField("worker_handshake_challenge")
    assert worker.reason_of(await worker.ask(request)) == Reason.REPLAY_DETECTED
    short = worker.request()
    short.worker_handshake_challenge_request.client_nonce = b"short"
    sign_trust_packet(short, KEY)
    answer = await worker.send(short.SerializeToString(deterministic=True))
    assert worker.reason_of(answer) == Reason.INVALID_REQUEST
    for silent in (b"garbage", b"", BusPacket(sender_id="x").SerializeToString()):
        with pytest.raises(NoAnswer):
            await client.request(subjects.TRUST_CHALLENGE, silent, timeout=0.5)

    # The second step.
    verified = await worker.challenged()
    authenticate = worker.signed(verified)
    tampered = BusPacket.FromString(authenticate.SerializeToString())
    tampered.worker_handshake_authenticate.challenge.tenant_id = "acme"
    sign_trust_packet(tampered, KEY)
    answer = await worker.ask(tampered, subjects.TRUST_AUTHENTICATE)
    assert worker.reason_of(answer) == Reason.AUTHENTICATION_FAILED
    forged = BusPacket.FromString(authenticate.SerializeToString())
    sign_trust_packet(forged, ec.generate_private_key(ec.SECP256R1()))
    answer = await worker.ask(forged, subjects.TRUST_AUTHENTICATE)
    assert worker.reason_of(answer) == Reason.AUTHENTICATION_FAILED
    # Neither used the challenge up.
    answer = await worker.ask(authenticate, subjects.TRUST_AUTHENTICATE)
    session = cap.verify_result(worker.config, verified, authenticate, answer, utc_now())
    assert session.token
    answer = await worker.ask(authenticate, subjects.TRUST_AUTHENTICATE)
    assert worker.reason_of(answer) == Reason.CHALLENGE_EXPIRED

    # Renewal: the active token of this worker alone.
    renewed = await worker.session(RENEW, session.token)
    assert renewed.token != session.token
    with pytest.raises(cap.WorkerHandshakeRejectionError) as refused:
        await worker.session(RENEW, session.token)
    assert refused.value.reason == Reason.SESSION_INVALID
    other = _Worker(client, redis, keys, "w-2")
    await eventually_enrolled(other)
    with pytest.raises(cap.WorkerHandshakeRejectionError) as refused:
        await other.session(RENEW, renewed.token)
    assert refused.value.reason == Reason.SESSION_INVALID

    # What counts of the announcement is what the credential allows.
    stored = await redis.execute("GET", "cordum:worker:handshake:w-1")
    assert b'"ready_topics":["job.test.echo"]' in stored
    assert b'"authenticated":true' in stored


async def test_an_agent_that_is_not_active_gets_no_session_and_floods_get_few_answers(
    system: tuple[Stack, TrustKeys, Client, RedisClient],
) -> None:
    _, keys, client, redis = system
    worker = _Worker(client, redis, keys, "w-1")
    await eventually_enrolled(worker)
    for record in (b'{"tenant":"default","status":"suspended"}', b'{"tenant":"acme"}', b"no json"):
        await redis.execute("SET", f"agent:identity:{AGENT}", record)
        answer = await worker.ask(worker.request())
        assert worker.reason_of(answer) == Reason.AUTHENTICATION_FAILED
    await redis.execute("DEL", f"agent:identity:{AGENT}")
    stranger = _Worker(client, redis, keys, "w-9")
    answers = await asyncio.gather(
        *(
            client.request(
                subjects.TRUST_CHALLENGE, marshal_worker_trust_packet(stranger.request()), timeout=2
            )
            for _ in range(20)
        ),
        return_exceptions=True,
    )
    silent = [answer for answer in answers if isinstance(answer, NoAnswer)]
    # Five per second; the twenty may fall into two of them.
    assert 10 <= len(silent) <= 15
