"""Writes that follow a commit and may come a little later: sets in other slots, confirmations, finished
duties.

They are collected over batches and sent with the next commit or after 50 ms; dead letters at once, as whoever
reads how a job ended looks for its letter next. A crash loses nothing that a sweep does not find again
(scheduler spec §29 H, §31.2).
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

import structlog

from cordum.domain.errors import CordumError, Unavailable
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler.output_metrics import Check
from cordum.store.blobs import BlobStore
from cordum.store.dlq import dead_letter_commands
from cordum.store.job_sets import (
    recent_commands,
    release_commands,
    tenant_commands,
    trace_commands,
    worker_job_commands,
)
from cordum.store.jobs import JobStore
from cordum.store.output_stats import OutputCheckNote, note_commands
from cordum.store.scripts import Command, script

_FLUSH_S = 0.05
_EVIDENCE_S = 7 * 24 * 3600
_TRIM_S = 60.0
_RETRY_S = 1.0
_UNSENT_MAX = 50_000

_log = structlog.get_logger("cordum.scheduler")


class SideWrites:
    """Collector of pending side writes of one process."""

    def __init__(self, jobs: JobStore, blobs: BlobStore) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._tenants: list[tuple[str, str, int, bool, bool]] = []
        self._recent: list[tuple[str, str, int]] = []
        self._released: list[tuple[str, str, int]] = []
        self._workers: list[tuple[str, str, int]] = []
        self._traces: list[tuple[str, str]] = []
        self._letters: list[tuple[str, str, int]] = []
        self._confirmed: list[tuple[str, str]] = []
        self._recovered: list[str] = []
        self._done: list[tuple[str, int]] = []
        self._results: list[str] = []
        self._evidence: set[str] = set()
        self._outputs: list[OutputCheckNote] = []
        self._trimmed_s: dict[str, float] = {}
        self._unsent: list[Command] = []
        self._pending = asyncio.Event()
        self._urgent = asyncio.Event()

    async def store_configs(self, configs: Sequence[tuple[str, str]]) -> None:
        """Store (key, JSON) of configurations too large for a dispatch, at once. Raises Unavailable."""
        await self._blobs.set_many([(key, text.encode()) for key, text in configs])

    def tenants(self, changes: Iterable[tuple[str, str, bool, bool]], at_us: int | None = None) -> None:
        """Note (tenant, job id, open, active); an active job is listed as of ``at_us``, now by default."""
        now = now_us() if at_us is None else at_us
        self._tenants.extend(
            (tenant, job_id, now, is_open, active) for tenant, job_id, is_open, active in changes
        )
        self._pending.set()

    def touched(self, jobs: Iterable[tuple[str, str]], updated_us: int) -> None:
        """Note (tenant, job id) of records that were changed at ``updated_us``."""
        self._recent.extend((tenant, job_id, updated_us) for tenant, job_id in jobs)
        self._pending.set()

    def trace(self, trace_id: str, job_id: str) -> None:
        """Note a job that is part of a trace."""
        self._traces.append((trace_id, job_id))
        self._pending.set()

    def released(self, slots: Iterable[tuple[str, str, int]]) -> None:
        """Note (tenant, job id, time) of jobs that wait after all and give back the slot listed as of that time. They
        keep their place among the open ones."""
        self._released.extend(slots)
        self._pending.set()

    def assignments(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Note (worker id, job id)."""
        now = now_us()
        self._workers.extend((worker_id, job_id, now) for worker_id, job_id in pairs)
        self._pending.set()

    def dead_letters(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Note (tenant, job id) of dead letters, for the tenant's list."""
        now = now_us()
        letters = [(tenant, job_id, now) for tenant, job_id in pairs]
        if letters:
            self._letters += letters
            self._urgent.set()
            self._pending.set()

    def confirmed(self, dispatches: Iterable[tuple[str, str]], recovered: Iterable[str] = ()) -> None:
        """Note (job id, dispatch id) whose publish is confirmed; the ``recovered`` jobs had routing failures before."""
        self._confirmed.extend(dispatches)
        self._recovered.extend(recovered)
        self._pending.set()

    def duties_done(self, jobs: Iterable[tuple[str, int]]) -> None:
        """Note (job id, revision) of records whose post-commit duties are done; later duties of the job stay."""
        self._done.extend(jobs)
        self._pending.set()

    def results_kept(self, keys: Iterable[str]) -> None:
        """Note payloads whose data TTL starts now."""
        self._results.extend(keys)
        self._pending.set()

    def evidence_kept(self, blob_keys: Iterable[str]) -> None:
        """Note results of quarantined jobs: they are kept for at least seven days (output policy spec §9.3)."""
        self._evidence.update(blob_keys)
        self._pending.set()

    def outputs(self, checks: Iterable[Check]) -> None:
        """Note output checks, for the statistics."""
        at = now_us()
        self._outputs.extend(
            OutputCheckNote(tenant, job_id, decision, rule_id, duration_ms, at)
            for tenant, job_id, _, decision, rule_id, duration_ms, _, _ in checks
        )
        self._pending.set()

    def take(self) -> list[Command]:
        """Return the commands of everything noted so far and forget it; `give_back` undoes that."""
        commands, self._unsent = self._unsent, []
        if self._tenants:
            commands += tenant_commands(self._tenants)
        if self._recent:
            commands += recent_commands(self._recent, recent_max=self._jobs.settings.job_recent_max)
        if self._released:
            commands += release_commands(self._released)
        if self._traces:
            commands += trace_commands(self._traces)
        if self._workers:
            commands += self._worker_commands()
        if self._letters:
            commands += dead_letter_commands(self._letters, max_size=self._jobs.settings.dlq_max_size)
        if self._confirmed:
            commands += self._jobs.confirm_dispatch_commands(self._confirmed)
        if self._recovered:
            commands += self._jobs.forget_failures_commands(self._recovered)
        if self._done:
            commands += self._jobs.clear_after_commands(self._done)
        if self._outputs:
            commands += note_commands(self._outputs)
        if self._results:
            commands += self._blobs.keep_commands(self._results)
        # Last: a result that was kept as such in the same moment is evidence by now.
        ttl_s = max(self._blobs.data_ttl_s, _EVIDENCE_S)
        for key in sorted(self._evidence):
            # A result has the data TTL by now, an artifact that of its class, which may be longer.
            is_artifact = key.startswith("art:")
            commands.append(
                script("keep_longer").command([key], [ttl_s]) if is_artifact else ("EXPIRE", key, ttl_s)
            )
        self._evidence = set()
        self._tenants, self._recent, self._released, self._traces = [], [], [], []
        self._workers, self._letters = [], []
        self._confirmed, self._recovered, self._done = [], [], []
        self._results, self._outputs = [], []
        self._pending.clear()
        self._urgent.clear()
        return commands

    def give_back(self, commands: Sequence[Command]) -> None:
        """Keep commands that could not be sent for the next flush; beyond the bound the sweeps have to find them."""
        self._unsent = [*commands, *self._unsent][:_UNSENT_MAX]
        self._pending.set()

    def _worker_commands(self) -> list[Command]:
        """Bound each worker's list once in a while, and always the first time it is seen here."""
        now = monotonic_s()
        due = [entry for entry in self._workers if now - self._trimmed_s.get(entry[0], -_TRIM_S) >= _TRIM_S]
        self._trimmed_s.update((worker_id, now) for worker_id, _, _ in due)
        trimmed = {worker_id for worker_id, _, _ in due}
        rest = [entry for entry in self._workers if entry[0] not in trimmed]
        return worker_job_commands(e for e in self._workers if e[0] in trimmed) + worker_job_commands(
            rest, trim=False
        )

    def forget_worker(self, worker_id: str) -> None:
        """Drop what is remembered of a worker that left."""
        self._trimmed_s.pop(worker_id, None)

    async def run(self) -> None:
        """Flush what no commit took along."""
        while True:
            await self._pending.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._urgent.wait()
            try:
                await self.flush()
            except CordumError as error:
                _log.warning("side writes postponed", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def flush(self) -> None:
        """Send everything noted now. Raises Unavailable; what was noted is then kept for the next flush."""
        commands = self.take()
        if not commands:
            return
        try:
            replies = await self._jobs.client.pipeline(commands)
        except CordumError:
            self.give_back(commands)
            raise
        # One node of a cluster may be away while the others answer.
        pairs = zip(commands, replies, strict=True)
        if lost := [command for command, reply in pairs if isinstance(reply, Unavailable)]:
            self.give_back(lost)
            raise Unavailable(f"{len(lost)} side writes were not answered")
