"""gRPC surface of the safety kernel (policy spec §14, protocol spec §20).

Requests and answers stay bytes: the methods are generic handlers without serializers and the engine decodes
and encodes natively. A policy answer is always gRPC OK, also for DENY.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cordum._core import PolicyEngine, PolicyError, output_settings, simulate_output
from cordum.config.kernel import KernelSettings
from cordum.domain.errors import CordumError, InvalidInput, LimitExceeded, Unavailable
from cordum.kernel.decisions import Observer
from cordum.kernel.evaluator import Evaluator
from cordum.kernel.metrics import EVALUATION_SECONDS
from cordum.kernel.outputs import OutputChecks
from cordum.kernel.replay import Replays
from cordum.kernel.snapshots import PolicyStore
from cordum.kernel.tls import server_credentials
from cordum.protocol.cap import safety_pb2
from cordum.runtime.logs import get_logger
from cordum.v1 import output_policy_pb2, safety_batch_pb2

__all__ = ["KernelServer"]

SAFETY_KERNEL: Final = "cordum.agent.v1.SafetyKernel"
POLICY_EVALUATOR: Final = "cordum.agent.v1.PolicyEvaluator"
SAFETY_BATCH: Final = "cordum.v1.SafetyKernelBatch"
OUTPUT_POLICY: Final = "cordum.v1.OutputPolicyService"
SERVICES: Final = (SAFETY_KERNEL, SAFETY_BATCH, OUTPUT_POLICY)

MESSAGE_MAX_BYTES: Final = 8 * 1024 * 1024
BATCH_MAX_BYTES: Final = 7 * 1024 * 1024

DRAIN_S: Final = 14.0

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Method = Callable[[bytes, Context], Awaitable[bytes]]

_log = get_logger()


class KernelServer:
    """The listener of one kernel process."""

    def __init__(
        self,
        settings: KernelSettings,
        policies: PolicyStore,
        *,
        decisions: Observer | None = None,
        replays: Replays | None = None,
        evaluator: Evaluator | None = None,
        outputs: OutputChecks | None = None,
    ) -> None:
        self._settings = settings
        self._policies = policies
        self._decisions = decisions
        self._replays = replays
        self._evaluator = evaluator or Evaluator()
        self._outputs = outputs
        # A comparison may take seconds of a core.
        self._comparing = asyncio.Semaphore(1)
        self._testing = asyncio.Semaphore(1)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(settings))
        self._server.add_generic_rpc_handlers(self._handlers())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection_enabled:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Listen; return the port. Raises Unavailable when the address is taken, ConfigError for bad TLS."""
        address = self._settings.addr
        target = f"{address.bind_host}:{address.port}" if ":" not in address.host else str(address)
        try:
            if self._settings.tls_cert:
                port = self._server.add_secure_port(target, server_credentials(self._settings))
            else:
                port = self._server.add_insecure_port(target)
        except RuntimeError as error:
            raise Unavailable(
                f"SAFETY_KERNEL_ADDR: cannot listen on `{target}`", hint="is another kernel running there?"
            ) from error
        await self._server.start()
        _log.info(
            "listening", listener="grpc", address=f"{address.host}:{port}", tls=bool(self._settings.tls_cert)
        )
        return int(port)

    async def report_health(self) -> None:
        """Report SERVING once a good policy is loaded, NOT_SERVING before (README decision 50)."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        word = status.SERVING if self._policies.is_loaded else status.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, word)

    async def stop(self, grace_s: float = DRAIN_S) -> None:
        """Report NOT_SERVING, stop accepting, let calls in flight finish within ``grace_s``."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        evaluations = {name: self._evaluation(name) for name in ("Check", "Evaluate", "Explain", "Simulate")}
        return (
            _service(SAFETY_KERNEL, {**evaluations, "ListSnapshots": self._list_snapshots}),
            _service(
                SAFETY_BATCH,
                {
                    "EvaluateBatch": self._evaluate_batch,
                    "CheckOutputBatch": self._check_outputs if self._outputs else _not_built,
                    "SimulateOutput": self._simulate_output,
                    "OutputSettings": self._output_settings,
                    "ExplainDecision": self._explain,
                    "CheckPolicy": self._check_policy,
                    "BaseDocument": self._base_document,
                    "ReplayDecisions": self._replay if self._replays else _not_built,
                },
            ),
            _service(OUTPUT_POLICY, {"CheckOutput": self._check_output if self._outputs else _not_built}),
            _service(POLICY_EVALUATOR, {"EvaluateUnified": _not_built}),
        )

    def _evaluation(self, name: str) -> Method:
        seconds = EVALUATION_SECONDS.labels(name)
        # The others ask what would be decided.
        counts = name in {"Check", "Evaluate"}
        decisions = self._decisions if counts else None

        async def evaluate(request: bytes, context: Context) -> bytes:
            if not request:
                await _refuse(context, "request is empty")
            start = perf_counter()
            engine, report = self._policies.engine, self._policies.report
            answer = await _answered(self._evaluator.one(engine, request, record=counts), context)
            spent_s = perf_counter() - start
            seconds.observe(spent_s)
            if counts:
                report.one(request, answer, spent_s)
            if decisions is not None:
                decisions.note(request, answer, is_batch=False)
            return answer

        return evaluate

    async def _evaluate_batch(self, request: bytes, context: Context) -> bytes:
        if len(request) > BATCH_MAX_BYTES:
            await _refuse(
                context, f"batch too large: expected at most {BATCH_MAX_BYTES} bytes, got {len(request)}"
            )
        if not request:
            # Nothing to decide: which policy is it that would?
            return _standing(self._policies.engine)
        start = perf_counter()
        engine, report = self._policies.engine, self._policies.report
        answer = await _answered(self._evaluator.batch(engine, request, record=True), context)
        _BATCH_SECONDS.observe(perf_counter() - start)
        report.batch(request, answer)
        if self._decisions is not None:
            self._decisions.note(request, answer, is_batch=True)
        return answer

    async def _check_outputs(self, request: bytes, context: Context) -> bytes:
        if self._outputs is None:
            return await _not_built(request, context)
        if len(request) > BATCH_MAX_BYTES:
            await _refuse(
                context, f"batch too large: expected at most {BATCH_MAX_BYTES} bytes, got {len(request)}"
            )
        return await _answered(self._outputs.batch(self._policies.engine, request), context)

    async def _check_output(self, request: bytes, context: Context) -> bytes:
        if self._outputs is None:
            return await _not_built(request, context)
        item = await _answered(self._outputs.one(self._policies.engine, request), context)
        context.set_trailing_metadata(((_EVAL_US, str(item.eval_us)),))
        if item.code:
            await context.abort(_STATUS[item.code], item.error)
        return bytes(item.response)

    async def _simulate_output(self, request: bytes, context: Context) -> bytes:
        answer = safety_batch_pb2.SimulateOutputResponse()
        try:
            asked = safety_batch_pb2.SimulateOutputRequest.FromString(request)
            engine = self._policies.engine
            if asked.use_bundles:
                bundles = [(bundle.id, bundle.content) for bundle in asked.bundles]
                engine = await asyncio.to_thread(self._policies.with_bundles, bundles)
            answer.result = await asyncio.to_thread(simulate_output, engine, asked.request)
        except PolicyError as error:
            for path, message, line in error.errors[:100]:
                answer.problems.add(path=path, message=message, line=line)
        except (DecodeError, ValueError) as error:
            return await _refuse(context, str(error))
        return bytes(answer.SerializeToString())

    async def _output_settings(self, _request: bytes, _context: Context) -> bytes:
        engine = self._policies.engine
        is_active, fail_mode, checks_errors = output_settings(engine)
        answer = safety_batch_pb2.OutputSettingsResponse(
            is_active=is_active,
            fail_mode=fail_mode or "",
            policy_snapshot=engine.snapshot,
            checks_errors=checks_errors,
        )
        return bytes(answer.SerializeToString())

    async def _explain(self, request: bytes, context: Context) -> bytes:
        try:
            asked = safety_batch_pb2.ExplainRequest.FromString(request).request
        except DecodeError as error:
            return await _refuse(context, str(error))
        # One snapshot for both parts.
        response, trace = await _answered(self._evaluator.explain(self._policies.engine, asked), context)
        answer: bytes = safety_batch_pb2.ExplainResponse(response=response, trace=trace).SerializeToString()
        return answer

    async def _check_policy(self, request: bytes, context: Context) -> bytes:
        try:
            asked = safety_batch_pb2.CheckPolicyRequest.FromString(request)
        except DecodeError as error:
            return await _refuse(context, str(error))
        bundles = [(bundle.id, bundle.content) for bundle in asked.bundles]
        answer = safety_batch_pb2.CheckPolicyResponse()
        try:
            engine = await asyncio.to_thread(self._policies.with_bundles, bundles)
            answer.policy_snapshot = engine.snapshot
            answer.warnings.extend(engine.warnings[:100])
            if asked.run_tests:
                async with self._testing:
                    answer.tests = await asyncio.to_thread(self._policies.tested, bundles)
            if asked.compare:
                async with self._comparing:
                    answer.diff = await asyncio.to_thread(self._policies.difference, bundles)
            if asked.request:
                decided = self._evaluator.one(engine, asked.request, record=False)
                answer.response = await _answered(decided, context)
        except PolicyError as error:
            for path, message, line in error.errors[:100]:
                answer.problems.add(path=path, message=message, line=line)
        return bytes(answer.SerializeToString())

    async def _base_document(self, _request: bytes, context: Context) -> bytes:
        content = self._policies.base
        if content is not None and len(content) > BATCH_MAX_BYTES:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "the base document is too large to be sent"
            )
        answer = safety_batch_pb2.BaseDocumentResponse(content=content, name=self._policies.base_name)
        return bytes(answer.SerializeToString())

    async def _replay(self, request: bytes, context: Context) -> bytes:
        if self._replays is None:
            return await _not_built(request, context)
        try:
            return await self._replays.run(request)
        except CordumError as error:
            await context.abort(_REPLAY_STATUS.get(type(error), grpc.StatusCode.INTERNAL), error.message)
            raise AssertionError("abort raises") from error

    async def _list_snapshots(self, _request: bytes, _context: Context) -> bytes:
        answer: bytes = safety_pb2.ListSnapshotsResponse(
            snapshots=await self._policies.history()
        ).SerializeToString()
        return answer


_REPLAY_STATUS: Final[dict[type, grpc.StatusCode]] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}
_EVAL_US: Final = "x-cordum-eval-us"
_STATUS: Final = {int(status.value[0]): status for status in grpc.StatusCode}
_OUTPUT_FILE: Final = output_policy_pb2.DESCRIPTOR
"""Named here so that reflection knows the service."""
_BATCH_SECONDS: Final = EVALUATION_SECONDS.labels("EvaluateBatch")


def _standing(engine: PolicyEngine) -> bytes:
    """Return the answer to an empty batch: the policy in force and how many rules it has."""
    answer = safety_batch_pb2.BatchResponse(policy_snapshot=engine.snapshot, rule_count=engine.rule_count)
    return answer.SerializeToString()


async def _answered(evaluation: Awaitable[T], context: Context) -> T:
    """Await an evaluation; a request that does not decode is INVALID_ARGUMENT, a missing store UNAVAILABLE."""
    try:
        return await evaluation
    except ValueError as error:
        return await _refuse(context, str(error))
    except Unavailable as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, error.message)
        raise AssertionError("abort raises") from error


async def _refuse(context: Context, reason: str) -> NoReturn:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
    raise AssertionError("abort raises")


async def _not_built(_request: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not part of this version")
    raise AssertionError("abort raises")


def _service(name: str, methods: dict[str, Method]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        name, {method: grpc.unary_unary_rpc_method_handler(call) for method, call in methods.items()}
    )


def _options(settings: KernelSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
        ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1_000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1_000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(settings.enforcement_min_time_s * 1_000)),
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1_000)),
        ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace_s * 1_000)),
    ]
