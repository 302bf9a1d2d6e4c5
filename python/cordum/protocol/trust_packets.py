"""Packets of the worker trust handshake, by the rules of the published package (protocol spec §14.2, §14.3)."""

from collections.abc import Mapping
from typing import Final

from cap.trust_signing import TrustSigningError, sign_trust_packet, verify_trust_packet
from cap.worker_trust import WorkerHandshakePacketError
from cap.worker_trust_codec import marshal_worker_trust_packet, unmarshal_worker_trust_packet
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from cordum.protocol.cap import BusPacket, handshake_pb2

__all__ = [
    "AUDIENCE",
    "AUTHENTICATE",
    "CHALLENGE_REQUEST",
    "ISSUE",
    "NONCE_BYTES",
    "RENEW",
    "Reason",
    "is_signed_by",
    "is_well_formed",
    "parse_trust_packet",
    "sign_and_encode",
]

CHALLENGE_REQUEST: Final = "worker_handshake_challenge_request"
AUTHENTICATE: Final = "worker_handshake_authenticate"
ISSUE: Final[int] = handshake_pb2.WORKER_HANDSHAKE_PURPOSE_ISSUE
RENEW: Final[int] = handshake_pb2.WORKER_HANDSHAKE_PURPOSE_RENEW
AUDIENCE: Final = "cordum-scheduler"
NONCE_BYTES: Final = 32
MAX_BYTES: Final = 64 * 1024


class Reason:
    """Numbers of `WorkerHandshakeRejectionReason`."""

    INVALID_REQUEST: Final = 1
    AUTHENTICATION_FAILED: Final = 2
    REPLAY_DETECTED: Final = 3
    CLOCK_SKEW: Final = 4
    CHALLENGE_EXPIRED: Final = 5
    SESSION_REQUIRED: Final = 6
    SESSION_INVALID: Final = 7
    INTERNAL_ERROR: Final = 9


def parse_trust_packet(data: bytes) -> BusPacket | None:
    """Return the packet, None when the bytes are none or too many."""
    if not 0 < len(data) <= MAX_BYTES:
        return None
    try:
        return BusPacket.FromString(data)
    except DecodeError:
        return None


def is_well_formed(data: bytes, phase: str) -> bool:
    """Tell whether the bytes are a packet of ``phase`` that follows every rule of its structure."""
    try:
        packet = unmarshal_worker_trust_packet(data)
    except WorkerHandshakePacketError:
        return False
    return bool(packet.WhichOneof("payload") == phase)


def is_signed_by(packet: BusPacket, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> bool:
    """Tell whether the key that the packet names, out of ``keys``, signed it."""
    try:
        verify_trust_packet(packet, keys)
    except TrustSigningError:
        return False
    return True


def sign_and_encode(packet: BusPacket, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the signed packet. Raises ValueError for one that workers would not accept."""
    sign_trust_packet(packet, key)
    encoded: bytes = marshal_worker_trust_packet(packet)
    return encoded
