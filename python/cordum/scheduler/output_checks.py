"""The first check of results: before a job counts as succeeded (output policy spec §2.3, §2.4)."""

from collections.abc import Sequence
from typing import Any, Final

import structlog

from cordum._core import ResultPlan
from cordum.bus.connection import Bus
from cordum.config.output_policy import OutputPolicySettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.protocol.kernel_client import KernelCallFailed, PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.scheduler import output_metrics as metrics
from cordum.scheduler.outgoing import Outgoing
from cordum.scheduler.output_modes import OutputModes
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.breaker import CircuitBreaker
from cordum.store.jobs import JobStore, record_of
from cordum.store.scripts import Command

__all__ = ["CIRCUIT_OPEN", "OutputChecks"]

CIRCUIT_OPEN: Final = "output safety circuit open"
_COPY_TIMEOUT_S: Final = 5.0
_PER_JOB: Final = 4

Batches = Sequence[tuple[int, bytes]]
Answers = list[tuple[int, bytes | None]]

_log = structlog.get_logger("cordum.scheduler")


class OutputChecks:
    """Checks the results of a plan. Nothing here raises for the kernel: its results then have no answer."""

    def __init__(
        self,
        settings: OutputPolicySettings,
        kernel: PolicyClient,
        breaker: CircuitBreaker,
        modes: OutputModes,
        jobs: JobStore,
        blobs: BlobStore,
        bus: Bus,
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._breaker = breaker
        self._jobs = jobs
        self._blobs = blobs
        self._bus = bus
        self.modes = modes

    async def check(self, plan: ResultPlan, content_max_bytes: int | None = None) -> None:
        """Check the results of a plan, with their content up to a size. Raises Unavailable when the store is away."""
        ids = plan.output_reads()
        if not ids or not self.modes.enabled:
            return
        started_s = monotonic_s()
        limit = self._settings.inline_max_bytes if content_max_bytes is None else content_max_bytes
        plan.supply_outputs(await self._read(ids, limit))
        # A result that is read in full takes longer than one of the usual size.
        timeout_s = self._settings.meta_timeout_ms / 1000 if content_max_bytes is None else _COPY_TIMEOUT_S
        answers, reason = await self._ask(plan.output_batches(), timeout_s)
        plan.output_answers(answers, reason)
        metrics.CHECK_SECONDS.labels("sync").observe(monotonic_s() - started_s)
        await self._copy(plan)
        tenants = plan.unanswered()
        if tenants:
            plan.fail_open(await self.modes.open_tenants(tenants, "sync"))
        plan.output_duration(round((monotonic_s() - started_s) * 1000))

    async def _read(self, ids: Sequence[str], limit: int) -> list[Any]:
        """Read records, requests and contents in one round trip per node."""
        commands: list[Command] = []
        for job_id in ids:
            tag, result = self._jobs.tag(job_id), keys.result_blob(job_id)
            commands += [
                ("HGETALL", keys.job_meta(tag, job_id)),
                ("GET", keys.job_request(tag, job_id)),
                # `0 -1` would be all of it.
                ("GETRANGE", result, 0, limit - 1) if limit > 0 else ("EXISTS", result),
                ("STRLEN", result),
            ]
        replies = await self._jobs.client.pipeline(commands)
        rows = []
        for at, job_id in enumerate(ids):
            fields, request, head, size = replies[at * _PER_JOB : (at + 1) * _PER_JOB]
            for reply in (fields, request):
                if isinstance(reply, Exception):
                    raise reply
            for reply in (head, size):
                if isinstance(reply, Unavailable):
                    raise reply
            content = head if isinstance(head, bytes) else b""
            # A key of another type holds no payload.
            stored = size if isinstance(size, int) else 0
            rows.append((record_of(job_id, fields), request, content, stored))
        return rows

    async def _ask(self, batches: Batches, timeout_s: float) -> tuple[Answers, str]:
        """Ask about batches, as one attempt of the circuit breaker; a deadline is tried once more."""
        if not batches:
            return [], ""
        grant = await self._breaker.admit()
        if grant is None:
            return [(count, None) for count, _ in batches], CIRCUIT_OPEN
        answers: Answers = []
        failure: KernelCallFailed | None = None
        for count, batch in batches:
            answer = None
            if failure is None:
                try:
                    answer = await self._call(batch, timeout_s)
                except KernelCallFailed as error:
                    failure = error
            answers.append((count, answer))
        if failure is not None:
            write = _log.warning if failure.is_late else _log.error
            write("no answer about outputs", error=failure.message)
        succeeded = True if failure is None else (False if failure.is_failure else None)
        await self._breaker.report(grant, succeeded)
        return answers, failure.message if failure is not None else ""

    async def _call(self, batch: bytes, timeout_s: float) -> bytes:
        try:
            return await self._kernel.check_outputs(batch, timeout_s)
        except KernelCallFailed as error:
            if not error.is_late:
                raise
        return await self._kernel.check_outputs(batch, timeout_s)

    async def _copy(self, plan: ResultPlan) -> None:
        """Make, store and check the masked copies; one that does not pass is deleted again."""
        copies = plan.copies()
        if not copies:
            return
        started_s = monotonic_s()
        await self._blobs.set_many(copies)
        answers, reason = await self._ask(plan.copy_batches(), _COPY_TIMEOUT_S)
        useless = plan.copy_answers(answers, reason)
        if useless:
            await self._jobs.client.pipeline([("DEL", key) for key in useless])
        metrics.CHECK_SECONDS.labels("sync_redact").observe(monotonic_s() - started_s)

    async def tell(self, audits: Sequence[Outgoing]) -> None:
        """Tell of quarantines and redactions, best effort."""
        try:
            for subject, payload, _, _ in audits:
                await self._bus.publish_core(subject, payload)
        except CordumError as error:
            _log.warning("output decisions not told", jobs=len(audits), error=error.message)
