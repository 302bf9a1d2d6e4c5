"""The first check of results: before a job counts as succeeded (output policy spec §2.3, §2.4)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from cordum._core import ResultPlan
from cordum.bus.connection import Bus
from cordum.config.output_policy import OutputPolicySettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.protocol.kernel_client import KernelCallFailed, PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.runtime.failpoints import reach
from cordum.scheduler import output_metrics as metrics
from cordum.scheduler.kernel_watch import KernelWatch
from cordum.scheduler.outgoing import Outgoing
from cordum.scheduler.output_modes import OutputModes
from cordum.store import keys
from cordum.store.blobs import BlobStore, is_of_tenant
from cordum.store.breaker import CircuitBreaker
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command

__all__ = ["CIRCUIT_OPEN", "OutputChecks"]

CIRCUIT_OPEN: Final = "output safety circuit open"
_COPY_TIMEOUT_S: Final = 5.0
_PER_JOB: Final = 3
# What a check needs to know of a record.
_FIELDS: Final = ("state", "rev", "after", "withheld", "dispatch_id", "dispatch_subject", "worker_id")

Batches = Sequence[tuple[int, bytes]]
Answers = list[tuple[int, bytes | None]]
Take = Callable[[Answers, str], bool]
"""Takes answers, None where there was none for the reason given; tells whether the kernel is well."""

_log = structlog.get_logger("cordum.scheduler")


class OutputChecks:
    """Checks the results of a plan. Nothing here raises for the kernel: its results then have no answer."""

    def __init__(
        self,
        settings: OutputPolicySettings,
        kernel: PolicyClient,
        breaker: CircuitBreaker,
        watch: KernelWatch,
        modes: OutputModes,
        jobs: JobStore,
        blobs: BlobStore,
        bus: Bus,
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._breaker = breaker
        self._watch = watch
        self._jobs = jobs
        self._blobs = blobs
        self._bus = bus
        self.modes = modes

    async def check(self, plan: ResultPlan, content_max_bytes: int | None = None) -> None:
        """Check the results of a plan, with their content up to a size. Raises Unavailable when the store is away."""
        await self._accept_artifacts(plan)
        reads = plan.output_reads()
        if not reads or not self.modes.enabled:
            return
        started_s = monotonic_s()
        limit = self._settings.inline_max_bytes if content_max_bytes is None else content_max_bytes
        rows = await self._read(reads, limit)
        metrics.SCAN_BYTES.inc(sum(len(content) for _, _, content, _ in rows))
        plan.supply_outputs(rows)
        reach("output.ask")
        # A result that is read in full takes longer than one of the usual size.
        timeout_s = self._settings.meta_timeout_ms / 1000 if content_max_bytes is None else _COPY_TIMEOUT_S
        await self._ask(plan.output_batches(), timeout_s, plan.output_answers)
        metrics.observe_phase(plan.output_topics(), "sync", monotonic_s() - started_s)
        await self._copy(plan)
        tenants = plan.unanswered()
        if tenants:
            plan.fail_open(await self.modes.open_tenants(tenants, "sync"))
            if not self.modes.checks_errors:
                plan.pass_errors()
        plan.output_duration(round((monotonic_s() - started_s) * 1000))

    async def _accept_artifacts(self, plan: ResultPlan) -> None:
        """Tell which results point at artifacts of their own tenant (protocol spec §10): others lose their pointer."""
        pointed = plan.artifact_reads()
        if not pointed:
            return
        commands: list[Command] = []
        for job_id, key in pointed:
            meta = keys.job_meta(self._jobs.tag(job_id), job_id)
            commands += [("HGET", meta, "tenant"), ("GET", keys.artifact_meta(key.removeprefix("art:")))]
        replies = await self._jobs.client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, Unavailable):
                raise reply
        told = zip(pointed, replies[::2], replies[1::2], strict=True)
        plan.accept_artifacts(
            [
                pair
                for pair, tenant, metadata in told
                if isinstance(tenant, bytes) and is_of_tenant(metadata, tenant.decode())
            ]
        )

    async def _read(self, reads: Sequence[tuple[str, str]], limit: int) -> list[Any]:
        """Read what counts of records, requests, and contents up to a size, in one round trip per node; the sizes of
        larger contents in a second one. Of a job that failed the content is not looked at."""
        commands: list[Command] = []
        for job_id, content_key in reads:
            tag, result = self._jobs.tag(job_id), content_key or keys.result_blob(job_id)
            commands += [
                ("HMGET", keys.job_meta(tag, job_id), *_FIELDS),
                ("GET", keys.job_request(tag, job_id)),
                # One byte more tells whether that is all.
                ("GETRANGE", result, 0, limit) if limit > 0 and content_key else ("STRLEN", result),
            ]
        replies = await self._jobs.client.pipeline(commands)
        rows: list[list[Any]] = []
        for at, (job_id, _) in enumerate(reads):
            fields, request, found = replies[at * _PER_JOB : (at + 1) * _PER_JOB]
            for reply in (fields, request):
                if isinstance(reply, Exception):
                    raise reply
            if isinstance(found, Unavailable):
                raise found
            # A key of another type holds no payload.
            content = found if isinstance(found, bytes) else b""
            size = found if isinstance(found, int) else len(content)
            rows.append([_record(job_id, fields), request, content, size])
        await self._measure([key for _, key in reads], rows, limit)
        return [tuple(row) for row in rows]

    async def _measure(self, content_keys: Sequence[str], rows: Sequence[list[Any]], limit: int) -> None:
        """Put the sizes of contents beyond the limit; what was read of them is of no use."""
        large = [(key, row) for key, row in zip(content_keys, rows, strict=True) if len(row[2]) > limit]
        if not large:
            return
        commands: list[Command] = [("STRLEN", key) for key, _ in large]
        for (_, row), size in zip(large, await self._jobs.client.pipeline(commands), strict=True):
            if isinstance(size, Unavailable):
                raise size
            row[2], row[3] = b"", size if isinstance(size, int) else 0

    async def _ask(self, batches: Batches, timeout_s: float, take: Take) -> None:
        """Ask about batches, as one attempt of the circuit breaker; a deadline is tried once more."""
        if not batches:
            return
        grant = await self._breaker.admit()
        if grant is None:
            take([(count, None) for count, _ in batches], CIRCUIT_OPEN)
            return
        answers: Answers = []
        failure: KernelCallFailed | None = None
        for count, batch in batches:
            answer = None
            if failure is None:
                try:
                    answer = await self._call(batch, timeout_s)
                except KernelCallFailed as error:
                    failure = error
                    self._watch.note(error)
            answers.append((count, answer))
        if failure is not None:
            write = _log.warning if failure.is_late else _log.error
            write("no answer about outputs", error=failure.message)
        succeeded: bool | None = False
        try:
            is_well = take(answers, failure.message if failure is not None else "")
            succeeded = is_well if failure is None else (False if failure.is_failure else None)
        finally:
            await self._breaker.report(grant, succeeded)

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
        reach("output.copied")
        topics = plan.copy_topics()
        useless: list[str] = []

        def take(answers: Answers, reason: str) -> bool:
            found, is_well = plan.copy_answers(answers, reason)
            useless.extend(found)
            return is_well

        await self._ask(plan.copy_batches(), _COPY_TIMEOUT_S, take)
        if useless:
            await self._jobs.client.pipeline([("DEL", key) for key in useless])
        metrics.observe_phase(topics, "sync_redact", monotonic_s() - started_s)

    async def tell(self, audits: Sequence[Outgoing]) -> None:
        """Tell of quarantines and redactions, best effort."""
        try:
            for subject, payload, _, _ in audits:
                await self._bus.publish_core(subject, payload)
        except CordumError as error:
            _log.warning("output decisions not told", jobs=len(audits), error=error.message)


def _record(job_id: str, values: Sequence[bytes | None]) -> dict[str, str] | None:
    """Return the fields that are set, None for a job that is not there."""
    if values[0] is None:
        return None
    pairs = zip(_FIELDS, values, strict=True)
    return {"id": job_id} | {name: value.decode() for name, value in pairs if value is not None}
