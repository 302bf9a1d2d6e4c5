"""The later scan of results that were too large for the first check, or passed it without an answer (output policy spec
§2.5). A durable duty of its job: what a crash left undone is found in the outbox and done again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from cordum._core import Planner, output_scan_request, redact_output
from cordum.config.output_policy import OutputPolicySettings
from cordum.domain.errors import CordumError
from cordum.domain.states import JobState
from cordum.protocol.cap import JobResult
from cordum.protocol.kernel_client import KernelCallFailed, PolicyClient
from cordum.runtime.clock import monotonic_s, now_us
from cordum.runtime.failpoints import reach
from cordum.scheduler import output_metrics as metrics
from cordum.scheduler.kernel_watch import KernelWatch
from cordum.scheduler.output_checks import CIRCUIT_OPEN
from cordum.scheduler.output_modes import OutputModes
from cordum.scheduler.output_outcomes import OutputOutcomes, Verdict, record_json
from cordum.store.blobs import BlobStore, content_key, pointer_to, redacted_key
from cordum.store.breaker import CircuitBreaker
from cordum.store.jobs import JobStore, Record, number_of
from cordum.v1.output_policy_pb2 import OutputCheckRequest, OutputCheckResponse, OutputDecision
from cordum.v1.safety_batch_pb2 import BatchRequest, BatchResponse

__all__ = ["OutputScans"]

_SENT_MAX_BYTES: Final = 2 * 1024 * 1024
_TIMEOUT_S: Final = 30.0
_READS: Final = 6
_READ_AGAIN_S: Final = 0.1
_POSTPONE_S: Final = 5.0
_GRACE_US: Final = 300_000_000
_LEASE_S: Final = 3.0
_NOTED_MAX: Final = 100_000
_TRUNCATED: Final = "content_truncated"
_MISSING: Final = "output content missing"
# The kernel could not read the content in time, or not at all (output policy spec §8.2).
_KERNEL_FAILURES: Final = frozenset({4, 14})
_GIVEN_UP: Final = 8
_CRASHED: Final = 13
_OVER_BUDGET: Final = (
    {
        "type": "scan_budget_exceeded",
        "severity": "high",
        "detail": "scan budget exceeded",
        "scanner": "size_check",
    },
)

_log = structlog.get_logger("cordum.scheduler")


class _NotAnswered(Exception):
    """No decision about the content; ``is_outage``: the kernel as a whole is away, so it is worth waiting."""

    def __init__(
        self, reason: str, *, is_outage: bool = False, findings: Sequence[dict[str, str]] = ()
    ) -> None:
        super().__init__(reason)
        self.findings = list(findings)
        self.reason = reason
        self.is_outage = is_outage


class _Broken(Exception):
    """The scan breaks in the kernel, and will again."""


def _key(record: Record) -> str:
    return content_key(record.get("result_ptr", ""), record["id"])


class OutputScans:
    """Performs the duty `scan`, a bounded number at a time."""

    def __init__(
        self,
        settings: OutputPolicySettings,
        kernel: PolicyClient,
        breaker: CircuitBreaker,
        watch: KernelWatch,
        modes: OutputModes,
        jobs: JobStore,
        blobs: BlobStore,
        planner: Planner,
        outcomes: OutputOutcomes,
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._breaker = breaker
        self._watch = watch
        self._modes = modes
        self._jobs = jobs
        self._blobs = blobs
        self._planner = planner
        self._outcomes = outcomes
        self._noted: dict[str, float] = {}
        self._busy: set[str] = set()
        self._pending = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.async_concurrency)

    @property
    def waiting(self) -> int:
        """Scans noted or running here."""
        return len(self._noted) + len(self._busy)

    def note(self, job_ids: Sequence[str], *, delay_s: float = 0.0) -> None:
        """Scan the results of these jobs; beyond the bound the sweep brings them again."""
        due_s = monotonic_s() + delay_s
        for job_id in job_ids:
            if job_id not in self._busy and len(self._noted) < _NOTED_MAX:
                self._noted.setdefault(job_id, due_s)
        if job_ids:
            self._pending.set()

    async def run(self) -> None:
        """Scan what is noted, for ever. What is cut short by the end of the process stays a duty."""
        async with asyncio.TaskGroup() as group:
            while True:
                due = self._due()
                if due is None:
                    await self._pending.wait()
                elif due > 0:
                    await self._wait(due)
                else:
                    await self._slots.acquire()
                    job_id = next(name for name, at in self._noted.items() if at <= monotonic_s())
                    del self._noted[job_id]
                    self._busy.add(job_id)
                    group.create_task(self._scan_one(job_id))
                self._pending.clear()

    def _due(self) -> float | None:
        """Seconds until the next scan is due, None when there is none."""
        if not self._noted:
            return None
        return max(0.0, min(self._noted.values()) - monotonic_s())

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._pending.wait()
        except TimeoutError:
            return

    async def keep_leases(self) -> None:
        """Tell the sweep that the duties noted here are looked after."""
        while True:
            await asyncio.sleep(_LEASE_S)
            try:
                await self._jobs.touch_after([*self._noted, *self._busy], now_us=now_us())
            except CordumError as error:
                _log.warning("scans not kept from the sweep", error=error.message)

    async def _scan_one(self, job_id: str) -> None:
        try:
            await self._scan(job_id)
        except CordumError as error:
            self._postpone(job_id, error.message)
        except Exception as error:  # one result must not end the scans of all others, nor pass because of it
            await self._crashed(job_id, error)
        finally:
            self._busy.discard(job_id)
            self._slots.release()

    def _postpone(self, job_id: str, reason: str) -> None:
        _log.warning("scan postponed", job_id=job_id, error=reason)
        self._busy.discard(job_id)
        self.note([job_id], delay_s=_POSTPONE_S)

    async def _crashed(self, job_id: str, error: Exception) -> None:
        """Quarantine what broke its scan, whatever the fail mode. The text of the error may hold content: only its
        name is told."""
        name = "the scan broke in the safety kernel" if isinstance(error, _Broken) else type(error).__name__
        _log.error("scan crashed", job_id=job_id, error=name)
        try:
            record = await self._jobs.get(job_id)
            if record is not None:
                metrics.ASYNC_ERRORS.labels(self._planner.metric_topic(record.get("topic", ""))).inc()
                verdict = Verdict("QUARANTINE", reason=f"async output check panic — fail-closed: {name}")
                await self._outcomes.apply(record, verdict, failed_code="quarantine_panic_failed")
        except CordumError as failure:
            self._postpone(job_id, failure.message)

    async def _scan(self, job_id: str) -> None:
        record = await self._jobs.get(job_id)
        if record is None or "scan" not in record.get("after", "").split(","):
            return
        if record["state"] != JobState.SUCCEEDED:
            await self._outcomes.finish(record)
            return
        reach("scan.begin")
        started_s = monotonic_s()
        try:
            verdict = await self._judge(record)
        except _NotAnswered as failure:
            await self._fail(record, failure)
            return
        topic = self._planner.metric_topic(record.get("topic", ""))
        metrics.observe_phase([(topic, 1)], "async", monotonic_s() - started_s)
        verdict.duration_ms = round((monotonic_s() - started_s) * 1000)
        await self._outcomes.apply(record, verdict)

    async def _judge(self, record: Record) -> Verdict:
        """Return what is decided about a job's result. Raises _NotAnswered, Unavailable."""
        job_id = record["id"]
        request_json = await self._jobs.request(job_id)
        if request_json is None:
            return Verdict("")
        result = JobResult(
            job_id=job_id, result_ptr=record.get("result_ptr", ""), worker_id=record.get("worker_id", "")
        )
        result.execution_ms = number_of(record, "execution_ms")
        # Those of a result that passed its first check without an answer.
        result.artifact_ptrs.extend(record.get("scan_artifacts", "").split())
        if not result.result_ptr and not result.artifact_ptrs:
            return Verdict("")
        head, size = await self._content(record) if result.result_ptr else (b"", 0)
        request = OutputCheckRequest.FromString(
            output_scan_request(
                request_json, result.SerializeToString(), head if len(head) == size else b"", size
            )
        )
        metrics.SCAN_BYTES.inc(min(size, self._settings.max_scan_bytes))
        response, eval_us = await self._ask(request)
        verdict = Verdict(
            "",
            response.rule_id,
            response.reason,
            record_json(response),
            eval_us=eval_us,
            findings=[(one.matched_pattern, one.severity) for one in response.findings],
        )
        is_cut = any(finding.type == _TRUNCATED for finding in response.findings)
        if response.decision == OutputDecision.OUTPUT_DECISION_QUARANTINE:
            verdict.decision = "QUARANTINE"
        elif response.decision == OutputDecision.OUTPUT_DECISION_REDACT:
            await self._redact(record, request, response, head, size, verdict)
        elif response.decision != OutputDecision.OUTPUT_DECISION_ALLOW:
            raise _NotAnswered("safety kernel gave an unknown decision")
        elif is_cut and not await self._is_open(request.tenant):
            verdict.decision, verdict.reason = "QUARANTINE", "output larger than scan limit"
        else:
            verdict.decision = "ALLOW"
        return verdict

    async def _content(self, record: Record) -> tuple[bytes, int]:
        """Return the first bytes and the size of a job's result. Raises _NotAnswered when it does not come."""
        for attempt in range(_READS):
            found = (await self._blobs.heads([_key(record)], _SENT_MAX_BYTES))[0]
            if found is not None:
                return found
            if attempt + 1 < _READS:
                await asyncio.sleep(_READ_AGAIN_S)
        raise _NotAnswered(_MISSING)

    async def _ask(self, request: OutputCheckRequest) -> tuple[OutputCheckResponse, int]:
        grant = await self._breaker.admit()
        if grant is None:
            raise _NotAnswered(CIRCUIT_OPEN, is_outage=True)
        batch = BatchRequest(requests=[request.SerializeToString()]).SerializeToString()
        succeeded: bool | None = False
        try:
            answer = BatchResponse.FromString(await self._kernel.check_outputs(batch, _TIMEOUT_S))
            if len(answer.items) != 1:
                raise _NotAnswered("safety kernel gave an undecodable answer")
            item = answer.items[0]
            succeeded = item.code not in _KERNEL_FAILURES
        except KernelCallFailed as error:
            succeeded = False if error.is_failure else None
            self._watch.note(error)
            raise _NotAnswered(error.message, is_outage=error.is_unreachable) from error
        except DecodeError as error:
            raise _NotAnswered("safety kernel gave an undecodable answer") from error
        finally:
            await self._breaker.report(grant, succeeded)
        if item.code == _CRASHED:
            raise _Broken
        if item.code:
            raise _NotAnswered(item.error, findings=_OVER_BUDGET if item.code == _GIVEN_UP else ())
        response = OutputCheckResponse.FromString(item.response)
        if not response.policy_snapshot and not response.reason:
            raise _NotAnswered("safety kernel gave no decision")
        return response, item.eval_us

    async def _redact(
        self,
        record: Record,
        request: OutputCheckRequest,
        response: OutputCheckResponse,
        head: bytes,
        size: int,
        verdict: Verdict,
    ) -> None:
        """Make, store and check the masked copy; without one the result is quarantined."""
        job_id = record["id"]
        content: bytes | None = head
        if len(head) < size:
            content = await self._blobs.get(_key(record))
        spans = [(span.offset, span.length) for span in response.redaction_spans]
        copy = await asyncio.to_thread(redact_output, content, spans) if content is not None else None
        if copy is not None:
            key = redacted_key(job_id, copy)
            await self._blobs.set_many([(key, copy)])
            reach("scan.copied")
            if await self._is_clean(request, copy, pointer_to(key)):
                verdict.decision, verdict.redacted_ptr = "REDACT", pointer_to(key)
                return
            await self._jobs.client.execute("DEL", key)
        verdict.decision = "QUARANTINE"
        verdict.reason = f"{verdict.reason or response.reason}; sanitized output unavailable"

    async def _is_clean(self, request: OutputCheckRequest, copy: bytes, pointer: str) -> bool:
        asked = OutputCheckRequest()
        asked.CopyFrom(request)
        asked.ClearField("content_hash")
        asked.output_size_bytes = len(copy)
        asked.output_content = copy if len(copy) <= _SENT_MAX_BYTES else b""
        asked.result_ptr = "" if len(copy) <= _SENT_MAX_BYTES else pointer
        response, _ = await self._ask(asked)
        return (
            response.decision in {OutputDecision.OUTPUT_DECISION_ALLOW, OutputDecision.OUTPUT_DECISION_REDACT}
            and not response.redaction_spans
        )

    async def _is_open(self, tenant: str) -> bool:
        return bool(await self._modes.open_tenants([tenant], "async"))

    async def _fail(self, record: Record, failure: _NotAnswered) -> None:
        """No answer: open lets the result pass, closed quarantines it once the kernel was away for too long."""
        topic = self._planner.metric_topic(record.get("topic", ""))
        if await self._is_open(record.get("tenant", "default")):
            metrics.ASYNC_ERRORS.labels(topic).inc()
            _log.warning("output passed unscanned", job_id=record["id"], error=failure.reason)
            await self._outcomes.apply(record, Verdict(""))
            return
        waited_us = now_us() - int(record.get("updated_at", "0"))
        if failure.is_outage and waited_us < _GRACE_US:
            self._busy.discard(record["id"])
            self.note([record["id"]], delay_s=_POSTPONE_S)
            return
        metrics.ASYNC_ERRORS.labels(topic).inc()
        reason = f"async output check error — fail-closed: {failure.reason}"
        told = {"findings": failure.findings} if failure.findings else {}
        await self._outcomes.apply(record, Verdict("QUARANTINE", "", reason, told))
