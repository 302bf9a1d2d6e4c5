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
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse, safety_pb2
from cordum.v1 import safety_batch_pb2

__all__ = ["INVALID_CONTENT", "KernelCallFailed", "KernelTls", "PolicyClient"]

INVALID_CONTENT: Final = "invalid policy content: "
"""How the kernel begins what it says about a document that does not validate."""

_EVALUATE_BATCH: Final = "/cordum.v1.SafetyKernelBatch/EvaluateBatch"
_CHECK_OUTPUTS: Final = "/cordum.v1.SafetyKernelBatch/CheckOutputBatch"
_SIMULATE_OUTPUT: Final = "/cordum.v1.SafetyKernelBatch/SimulateOutput"
_OUTPUT_SETTINGS: Final = "/cordum.v1.SafetyKernelBatch/OutputSettings"
_REPLAY_DECISIONS: Final = "/cordum.v1.SafetyKernelBatch/ReplayDecisions"
_EXPLAIN_DECISION: Final = "/cordum.v1.SafetyKernelBatch/ExplainDecision"
_CHECK_POLICY: Final = "/cordum.v1.SafetyKernelBatch/CheckPolicy"
_BASE_DOCUMENT: Final = "/cordum.v1.SafetyKernelBatch/BaseDocument"
_SAFETY_KERNEL: Final = "/cordum.agent.v1.SafetyKernel"
_MESSAGE_MAX_BYTES: Final = 8 << 20
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.max_send_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
]


_KERNEL_FAILURES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
    }
)


class KernelCallFailed(Unavailable):
    """A call to the kernel ended without an answer.

    ``is_failure``: the kernel is to blame, not the call, so a circuit breaker counts it (policy spec §15.2).
    ``is_unreachable``: nobody listens there. ``is_late``: the time was over first.
    """

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__(f"safety kernel did not answer: {status.name}")
        self.is_failure = status in _KERNEL_FAILURES
        self.is_unreachable = status is grpc.StatusCode.UNAVAILABLE
        self.is_late = status is grpc.StatusCode.DEADLINE_EXCEEDED


@dataclass(frozen=True, slots=True)
class KernelTls:
    """PEM bytes of a TLS connection; certificate and key only for mutual TLS."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class PolicyClient:
    """One lazily connected channel to the kernel. Safe to share between tasks of one event loop."""

    def __init__(
        self, address: str, tls: KernelTls | None = None, *, keepalive_s: tuple[float, float] = (30.0, 10.0)
    ) -> None:
        """``keepalive_s``: between pings while calls run, and how long an answer may take."""
        time_s, timeout_s = keepalive_s
        options = [
            *_OPTIONS,
            ("grpc.keepalive_time_ms", int(time_s * 1_000)),
            ("grpc.keepalive_timeout_ms", int(timeout_s * 1_000)),
        ]
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._channel = grpc.aio.secure_channel(address, credentials, options=options)
        self._call = self._channel.unary_unary(_EVALUATE_BATCH)
        self._evaluate = self._channel.unary_unary(f"{_SAFETY_KERNEL}/Evaluate")
        self._simulate = self._channel.unary_unary(f"{_SAFETY_KERNEL}/Simulate")
        self._snapshots = self._channel.unary_unary(f"{_SAFETY_KERNEL}/ListSnapshots")
        self._explain = self._channel.unary_unary(_EXPLAIN_DECISION)
        self._check_policy = self._channel.unary_unary(_CHECK_POLICY)
        self._base_document = self._channel.unary_unary(_BASE_DOCUMENT)
        self._check_outputs = self._channel.unary_unary(_CHECK_OUTPUTS)
        self._simulate_output = self._channel.unary_unary(_SIMULATE_OUTPUT)
        self._output_settings = self._channel.unary_unary(_OUTPUT_SETTINGS)
        self._replay = self._channel.unary_unary(_REPLAY_DECISIONS)

    async def evaluate_batch(self, requests: Sequence[bytes], timeout_s: float) -> bytes:
        """Evaluate serialized `PolicyCheckRequest`s (at most 512) as one batch; see `evaluate_encoded`."""
        batch = b"".join(b"\x0a" + _varint(len(request)) + request for request in requests)
        return await self.evaluate_encoded(batch, timeout_s)

    async def policy_in_force(self, timeout_s: float) -> tuple[str, int]:
        """Return the snapshot the kernel decides with and how many rules it has. Raises KernelCallFailed."""
        answer = safety_batch_pb2.BatchResponse.FromString(await self.evaluate_encoded(b"", timeout_s))
        return answer.policy_snapshot, answer.rule_count

    async def evaluate_encoded(self, batch_request: bytes, timeout_s: float) -> bytes:
        """Send one serialized `BatchRequest`, return the serialized `BatchResponse`.

        Raises KernelCallFailed when the kernel does not answer within ``timeout_s`` or refuses the call; the
        caller then has no decision and must not let anything run (fail closed).
        """
        try:
            answer: bytes = await self._call(batch_request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise KernelCallFailed(error.code()) from error
        return answer

    async def evaluate(self, request: PolicyCheckRequest, timeout_s: float) -> PolicyCheckResponse:
        """Ask for a decision that counts. Raises Unavailable."""
        encoded = request.SerializeToString(deterministic=True)
        return PolicyCheckResponse.FromString(await _answer(self._evaluate, encoded, timeout_s))

    async def simulate(self, request: PolicyCheckRequest, timeout_s: float) -> PolicyCheckResponse:
        """Ask what would be decided; nothing is counted or recorded. Raises Unavailable."""
        encoded = request.SerializeToString(deterministic=True)
        return PolicyCheckResponse.FromString(await _answer(self._simulate, encoded, timeout_s))

    async def explain(
        self, request: PolicyCheckRequest, timeout_s: float
    ) -> tuple[PolicyCheckResponse, bytes]:
        """Return what would be decided and, as JSON, why; both from one snapshot. Raises Unavailable."""
        asked = safety_batch_pb2.ExplainRequest(request=request.SerializeToString(deterministic=True))
        answer = safety_batch_pb2.ExplainResponse.FromString(
            await _answer(self._explain, asked.SerializeToString(), timeout_s)
        )
        return PolicyCheckResponse.FromString(answer.response), answer.trace

    async def check_policy(
        self,
        bundles: Sequence[tuple[str, bytes]],
        timeout_s: float = 5.0,
        *,
        compare: bool = False,
        run_tests: bool = False,
    ) -> safety_batch_pb2.CheckPolicyResponse:
        """Ask whether the kernel's base and these bundles make a valid policy, what it changes when asked to
        ``compare``, and whether it passes its own tests when asked to ``run_tests``. Raises Unavailable.
        """
        asked = safety_batch_pb2.CheckPolicyRequest(compare=compare, run_tests=run_tests)
        for name, content in bundles:
            asked.bundles.add(id=name, content=content)
        answer = await _answer(self._check_policy, asked.SerializeToString(), timeout_s)
        return safety_batch_pb2.CheckPolicyResponse.FromString(answer)

    async def decide_with(
        self, bundles: Sequence[tuple[str, bytes]], request: PolicyCheckRequest, timeout_s: float
    ) -> safety_batch_pb2.CheckPolicyResponse:
        """Ask what the kernel's base with these bundles would decide; nothing is counted.

        The answer holds the problems of the policy, or the response. Raises Unavailable.
        """
        asked = safety_batch_pb2.CheckPolicyRequest(request=request.SerializeToString(deterministic=True))
        for name, content in bundles:
            asked.bundles.add(id=name, content=content)
        answer = await _answer(self._check_policy, asked.SerializeToString(), timeout_s)
        return safety_batch_pb2.CheckPolicyResponse.FromString(answer)

    async def check_outputs(self, batch_request: bytes, timeout_s: float) -> bytes:
        """Send one serialized `BatchRequest` of `OutputCheckRequest`s, return the serialized `BatchResponse`.

        Raises KernelCallFailed.
        """
        return await _answer(self._check_outputs, batch_request, timeout_s)

    async def simulate_output(
        self, request: bytes, bundles: Sequence[tuple[str, bytes]] | None, timeout_s: float
    ) -> safety_batch_pb2.SimulateOutputResponse:
        """Ask what would be decided about a serialized `OutputCheckRequest`, with other bundles if given; nothing is
        counted. Raises KernelCallFailed.
        """
        asked = safety_batch_pb2.SimulateOutputRequest(request=request, use_bundles=bundles is not None)
        for name, content in bundles or ():
            asked.bundles.add(id=name, content=content)
        answer = await _answer(self._simulate_output, asked.SerializeToString(), timeout_s)
        return safety_batch_pb2.SimulateOutputResponse.FromString(answer)

    async def output_settings(self, timeout_s: float) -> safety_batch_pb2.OutputSettingsResponse:
        """Return whether outputs are checked and the fail mode the policy asks for. Raises KernelCallFailed."""
        answer = await _answer(self._output_settings, b"", timeout_s)
        return safety_batch_pb2.OutputSettingsResponse.FromString(answer)

    async def base_document(self, timeout_s: float) -> safety_batch_pb2.BaseDocumentResponse:
        """Return the base document that decides now and the name of its source. Raises Unavailable."""
        answer = await _answer(self._base_document, b"", timeout_s)
        return safety_batch_pb2.BaseDocumentResponse.FromString(answer)

    async def snapshots(self, timeout_s: float) -> list[str]:
        """Return the snapshots that were active, the active one first. Raises Unavailable."""
        answer = await _answer(self._snapshots, b"", timeout_s)
        return list(safety_pb2.ListSnapshotsResponse.FromString(answer).snapshots)

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
                code = "POLICY_VALIDATION_FAILED" if reason.startswith(INVALID_CONTENT) else None
                raise InvalidInput(reason, code=code) from error
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


async def _answer(call: Any, request: bytes, timeout_s: float) -> bytes:
    try:
        answer: bytes = await call(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        raise KernelCallFailed(error.code()) from error
    return answer


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
