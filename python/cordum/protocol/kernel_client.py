"""Client of the safety kernel's batch service, `cordum.v1.SafetyKernelBatch` (protocol spec §20.5, §20.6).

Requests and answers cross as raw bytes: the caller builds a serialized `BatchRequest` natively and reads the
`BatchResponse` the same way, so no protobuf object exists in Python on the hot path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from cordum.domain.errors import InvalidInput, LimitExceeded, Unavailable
from cordum.v1 import safety_batch_pb2

__all__ = ["KernelTls", "PolicyClient"]

_EVALUATE_BATCH: Final = "/cordum.v1.SafetyKernelBatch/EvaluateBatch"
_REPLAY_DECISIONS: Final = "/cordum.v1.SafetyKernelBatch/ReplayDecisions"
_MESSAGE_MAX_BYTES: Final = 8 << 20
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_send_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True, slots=True)
class KernelTls:
    """PEM bytes of a TLS connection; certificate and key only for mutual TLS."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class PolicyClient:
    """One lazily connected channel to the kernel. Safe to share between tasks of one event loop."""

    def __init__(self, address: str, tls: KernelTls | None = None) -> None:
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        self._call = self._channel.unary_unary(_EVALUATE_BATCH)
        self._replay = self._channel.unary_unary(_REPLAY_DECISIONS)

    async def evaluate_batch(self, requests: Sequence[bytes], timeout_s: float) -> bytes:
        """Evaluate serialized `PolicyCheckRequest`s (at most 512) as one batch; see `evaluate_encoded`."""
        batch = b"".join(b"\x0a" + _varint(len(request)) + request for request in requests)
        return await self.evaluate_encoded(batch, timeout_s)

    async def evaluate_encoded(self, batch_request: bytes, timeout_s: float) -> bytes:
        """Send one serialized `BatchRequest`, return the serialized `BatchResponse`.

        Raises Unavailable when the kernel does not answer within ``timeout_s`` or refuses the call; the
        caller then has no decision and must not let anything run (fail closed).
        """
        try:
            answer: bytes = await self._call(batch_request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"safety kernel did not answer: {error.code().name}") from error
        return answer

    async def replay(
        self, request: safety_batch_pb2.ReplayRequest, timeout_s: float = 30.0
    ) -> safety_batch_pb2.ReplayResponse:
        """Run a candidate policy over past decisions (policy spec §19.3).

        Raises InvalidInput when the candidate or a filter is refused, LimitExceeded when the kernel is busy with
        replays, Unavailable otherwise.
        """
        try:
            answer: bytes = await self._replay(request.SerializeToString(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            reason = error.details() or error.code().name
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise InvalidInput(reason) from error
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise LimitExceeded(reason, retry_after_s=5) from error
            raise Unavailable(f"safety kernel did not replay: {reason}") from error
        return safety_batch_pb2.ReplayResponse.FromString(answer)

    async def is_serving(self, timeout_s: float = 1.0) -> bool:
        """Ask the standard gRPC health service; any failure is False."""
        check = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await check(b"", timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        # HealthCheckResponse{status: SERVING} is field 1, varint 1.
        return answer == b"\x08\x01"

    async def close(self) -> None:
        """Close the channel; calls in flight fail with Unavailable."""
        await self._channel.close(grace=None)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
