"""Signed packets as the published package verifies them (protocol spec §16.1)."""

import logging

import pytest
from cap.packet_boundary import verify_packet
from cap.validate import validate_bus_packet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from cordum.domain.errors import CordumError
from cordum.protocol.cap import BusPacket, JobRequest, handshake_pb2
from cordum.protocol.sealing import PacketSeal

LOG = logging.getLogger("test")
KEY = ec.generate_private_key(ec.SECP256R1())
PKCS8 = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
SEAL = PacketSeal(PKCS8, ("cordum-scheduler", "sched-eu"))

texts = st.text(max_size=8)
maps = st.dictionaries(texts, texts, max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> JobRequest:
    request = JobRequest(
        job_id=draw(texts),
        topic=draw(texts),
        priority=draw(st.integers(-1, 3)),
        env=draw(maps),
        labels=draw(maps),
        step_index=draw(st.integers(-(2**31), 2**31 - 1)),
    )
    if draw(st.booleans()):
        request.meta.labels.update(draw(maps))
        request.meta.requires.extend(draw(st.lists(texts, max_size=3)))
    if draw(st.booleans()):
        request.compensation.env.update(draw(maps))
        request.compensation.meta.labels.update(draw(maps))
    if draw(st.booleans()):
        request.budget.deadline_ms = draw(st.integers(-(2**63), 2**63 - 1))
        request.dispatch.attempt = draw(st.integers(0, 2**64 - 1))
    return request


def packet(**payload: object) -> BusPacket:
    built = BusPacket(trace_id="t", sender_id="cordum-scheduler", protocol_version=1, **payload)
    built.created_at.FromMicroseconds(1_800_000_000_000_001)
    return built


def is_signed(sealed: BusPacket) -> bool:
    return bool(verify_packet(sealed, {"sched-eu": KEY.public_key()}, LOG))


@given(request=requests(), token=st.sampled_from(["", "a.b.c"]))
def test_every_sealed_request_verifies_and_says_what_it_said(request: JobRequest, token: str) -> None:
    SEAL.token = lambda: token
    (sealed,) = SEAL([packet(job_request=request).SerializeToString(deterministic=True)])
    read = BusPacket.FromString(sealed)
    assert is_signed(read)
    assert (read.sender_id, read.auth_token, read.job_request) == ("sched-eu", token, request)


@pytest.mark.parametrize(
    "payload",
    [
        {"job_result": {"job_id": "j", "status": 5, "worker_id": "w"}},
        {"job_cancel": {"job_id": "j", "requested_by": "me"}},
        {"handshake": {"component_id": "scheduler", "role": 2, "capabilities": {"a": True, "b": False}}},
        {"alert": {"message": "m", "level": "INFO", "details": {"x": "", "a": "b"}}},
    ],
)
def test_other_packets_of_ours_verify_too(payload: dict[str, object]) -> None:
    SEAL.token = lambda: "token"
    (sealed,) = SEAL([packet(**payload).SerializeToString(deterministic=True)])
    read = BusPacket.FromString(sealed)
    assert is_signed(read)
    read.auth_token = "other"
    assert not is_signed(read)


def test_a_sealed_dispatch_is_valid_for_the_published_package() -> None:
    SEAL.token = lambda: ""
    (sealed,) = SEAL(
        [packet(job_request=JobRequest(job_id="j", topic="job.a")).SerializeToString(deterministic=True)]
    )
    assert validate_bus_packet(BusPacket.FromString(sealed)) == []


def test_trust_packets_keep_their_own_signature() -> None:
    trust = packet(worker_handshake_result=handshake_pb2.WorkerHandshakeResult(accepted=True))
    trust.signature = b"own"
    encoded = trust.SerializeToString(deterministic=True)
    assert SEAL([encoded]) == [encoded]


def test_only_a_p256_key_signs() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    der = other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises((CordumError, ValueError), match="P-256"):
        PacketSeal(der)
