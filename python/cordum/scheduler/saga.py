"""Compensations: remembered when a workflow's job succeeds, run in reverse when one fails for good.

Both are post-commit duties of a job, `saga` and `rollback`; every step may be repeated after a crash
(scheduler spec §14).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import orjson
import structlog

from cordum._core import saga_template
from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s
from cordum.scheduler import metrics
from cordum.scheduler.compensation import DENIED, Compensations, Run
from cordum.scheduler.duties import SAGA_DUTIES
from cordum.store import keys
from cordum.store.jobs import JobStore, Record
from cordum.store.sagas import Push, SagaStore

__all__ = ["Sagas", "scope_of"]

_PASS_S: Final = 30.0
_CONTEXT_TTL_S: Final = 7 * 86_400
_NOTED_MAX: Final = 10_000
_BATCH: Final = 200

_log = structlog.get_logger("cordum.scheduler")

Announce = Callable[[Sequence[str]], Awaitable[None]]


def scope_of(record: Record) -> str:
    """Return what separates one saga from another: the run, else the workflow; empty: the job has neither."""
    labels = orjson.loads(record.get("labels") or b"{}")
    return record.get("run_id") or record.get("workflow_id") or str(labels.get("workflow_id", ""))


class Sagas:
    """Performs the saga duties of jobs. ``announce`` performs the other duties of a job."""

    def __init__(
        self, jobs: JobStore, store: SagaStore, compensations: Compensations, announce: Announce
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._compensations = compensations
        self._announce = announce
        self._noted: dict[str, None] = {}
        self._pending = asyncio.Event()

    def note(self, job_ids: Sequence[str]) -> None:
        """Note jobs with a saga duty whose outcome is published; beyond the bound the outbox sweep finds them."""
        for job_id in job_ids:
            if len(self._noted) < _NOTED_MAX:
                self._noted[job_id] = None
        if self._noted:
            self._pending.set()

    async def run(self) -> None:
        """Perform what is noted, for ever."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            noted, self._noted = list(self._noted), {}
            for start in range(0, len(noted), _BATCH):
                try:
                    await self._perform_noted(noted[start : start + _BATCH])
                except CordumError as error:
                    _log.warning("saga duties postponed", jobs=len(noted), error=error.message)

    async def _perform_noted(self, job_ids: Sequence[str]) -> None:
        records = [record for record in await self._jobs.get_many(job_ids) if record is not None]
        done = await self.perform(records)
        # Their outcome was published before they were noted.
        published = ("result", "dlq")
        await self._jobs.duties_done(
            (record["id"], int(record["rev"]), (*published, *SAGA_DUTIES))
            for record in records
            if record["id"] in done
        )

    async def perform(self, records: Sequence[Record]) -> set[str]:
        """Perform the saga duties of these jobs; return the ids of those that have none left.

        The caller ends the duties. Raises Unavailable when nothing is known to be done.
        """
        done = await self._remember([record for record in records if "saga" in _duties(record)])
        for record in records:
            if "rollback" in _duties(record) and await self._roll_back(record):
                done.add(record["id"])
        return done

    async def _remember(self, records: Sequence[Record]) -> set[str]:
        """Push the compensations of jobs that succeeded, all in one step."""
        if not records:
            return set()
        requests = await self._jobs.requests([record["id"] for record in records])
        owners: dict[tuple[str, str], list[tuple[Record, bytes]]] = {}
        for record, request in zip(records, requests, strict=True):
            template = await self._template(record, request)
            if template:
                owner = (scope_of(record), record.get("tenant", "default"))
                owners.setdefault(owner, []).append((record, template))
        if not owners:
            return {record["id"] for record in records}
        await self._keep_contexts([record["id"] for group in owners.values() for record, _ in group])
        pushes: list[Push] = [
            (scope, tenant, [(record["id"], template) for record, template in group])
            for (scope, tenant), group in owners.items()
        ]
        answers = await self._store.push_many(pushes)
        done = {record["id"] for record in records}
        for ((scope, tenant), group), (rolled, outcomes) in zip(owners.items(), answers, strict=True):
            metrics.SAGA_RECORDED.inc(outcomes.count("pushed"))
            run = Run(scope, tenant, group[-1][0].get("trace_id", ""))
            for (_, refused), outcome in zip(group, outcomes, strict=True):
                if outcome in {"full", "foreign"}:
                    await self._refuse(run, refused, outcome)
            if rolled and not (set(outcomes) <= {"foreign"} or await self._pass(run)):
                done -= {record["id"] for record, _ in group}
        return done

    async def _template(self, record: Record, request: bytes | None) -> bytes:
        """Return the job's compensation; what can never run is dead-lettered."""
        try:
            return saga_template(request or b"")
        except ValueError as error:
            run = Run(scope_of(record), record.get("tenant", "default"), record.get("trace_id", ""))
            await self._compensations.dead_letter(run, record["id"].encode(), DENIED, str(error))
            return b""

    async def _keep_contexts(self, job_ids: Sequence[str]) -> None:
        """Payloads live as long as the stacks: a compensation usually works on its parent's."""
        commands = [("EXPIRE", keys.context_blob(job_id), _CONTEXT_TTL_S) for job_id in job_ids]
        await self._jobs.client.pipeline(commands)

    async def _refuse(self, run: Run, template: bytes, outcome: str) -> None:
        texts = {
            "full": "the saga has too many compensations",
            "foreign": "the run belongs to another tenant",
        }
        refused = await self._compensations.refuse(run, template, texts[outcome])
        if refused:
            await self._announce([refused])

    async def _roll_back(self, record: Record) -> bool:
        scope = scope_of(record)
        if not scope:
            return True
        return await self._pass(Run(scope, record.get("tenant", "default"), record.get("trace_id", "")))

    async def _pass(self, run: Run) -> bool:
        """Run what is on the stack, newest first, for at most 30 s; tell whether nothing is left."""
        lock = self._store.lock(run.scope)
        if not await lock.acquire():
            return False
        metrics.SAGA_ROLLBACKS.inc()
        try:
            with metrics.SAGA_ACTIVE.track_inprogress(), metrics.SAGA_DURATION.time():
                return await self._empty(run, lock.token)
        finally:
            with suppress(CordumError):  # it ends by its TTL then
                await lock.release()

    async def _empty(self, run: Run, token: str) -> bool:
        until_s = monotonic_s() + _PASS_S
        while monotonic_s() < until_s:
            word, template = await self._store.pop(run.scope, run.tenant, token)
            if word == "foreign":
                _log.warning("rollback of another tenant's run refused", scope=run.scope, tenant=run.tenant)
                return True
            if word != "entry":
                return word == "empty"
            sent = await self._compensations.send(run, template)
            if sent is None:
                return False
            if sent:
                await self._announce([sent])
            await self._store.done(run.scope, template)
        return False


def _duties(record: Record) -> list[str]:
    return record.get("after", "").split(",")
