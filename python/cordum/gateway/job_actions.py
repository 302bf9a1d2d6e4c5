"""What callers may do to a job: cancel it, run a dead one again (scheduler spec §12, §13)."""

import hashlib
import secrets
from typing import Any, Final

import orjson

from cordum._core import SubmitBatch
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.gateway.packets import cancel_notice, outcome_messages
from cordum.gateway.remediation import chosen, new_job_id, remediated
from cordum.gateway.submit import Outcome, Submitter
from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.security.principal import Caller
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.dlq import DeadLetterStore, dead_letter_commands
from cordum.store.job_sets import tenant_commands
from cordum.store.job_times import taken_ms
from cordum.store.jobs import JobStore, Record

__all__ = ["JobActions"]

OPEN_STATES: Final = [str(state) for state in JobState if state not in TERMINAL_STATES]
CANCEL_REASON: Final = "cancelled via api"

_log = get_logger()


class JobActions:
    """Moves jobs in the store first, then tells the others; a crash in between is healed by the outbox."""

    def __init__(
        self,
        jobs: JobStore,
        letters: DeadLetterStore,
        blobs: BlobStore,
        bus: Bus,
        publisher: Publisher,
        submitter: Submitter,
    ) -> None:
        self._jobs = jobs
        self._letters = letters
        self._blobs = blobs
        self._bus = bus
        self._publisher = publisher
        self._submitter = submitter

    async def find(self, caller: Caller, job_id: str, code: str = "job_not_found") -> Record:
        """Return a record the caller may see. Raises NotFound for a missing or foreign one alike."""
        record = await self._jobs.get(job_id)
        if record is None or (record.get("tenant") != caller.tenant and not caller.cross_tenant):
            raise NotFound(code.replace("_", " "), code=code)
        return record

    async def cancel(self, record: Record) -> str:
        """Cancel a job; return the state it has now, `CANCELLED` or the terminal one it had before."""
        now = now_us()
        context = {"reason": CANCEL_REASON, "duration_ms": taken_ms(record, now)}
        event = {"ts": now, "state": "CANCELLED", "ctx": context}
        reply = await self._jobs.move(
            {
                "id": record["id"],
                "from": OPEN_STATES,
                "to": "CANCELLED",
                "set": {"failure_reason": CANCEL_REASON},
                "after": ["result", "cancel"],
                "events": [orjson.dumps(event).decode()],
            },
            now_us=now,
        )
        if reply[0] != b"moved":
            if not reply[2]:
                raise NotFound("job not found", code="job_not_found")
            return str(reply[2].decode())
        await self._announce_cancel(record, int(reply[2]))
        return "CANCELLED"

    async def _announce_cancel(self, record: Record, revision: int) -> None:
        targets = (subjects.ACCEPTED, subjects.RESULT)
        messages = outcome_messages(record, "CANCELLED", CANCEL_REASON, "", targets)
        await self.finish(record, revision, messages)
        try:
            await self._bus.publish_core(subjects.CANCEL, cancel_notice(record, CANCEL_REASON))
        except Unavailable as error:
            _log.warning("cancel notice not sent", job_id=record["id"], reason=error.message)

    async def finish(self, record: Record, revision: int, messages: list[OutMessage]) -> bool:
        """Publish the outcome of a job that ended here, update the tenant's sets, clear the outbox when all went out.

        Returns whether everything was published; otherwise the outbox sweep does it again.
        """
        now = now_us()
        sets = tenant_commands([(record.get("tenant", "default"), record["id"], now, False, False)])
        await self._jobs.client.pipeline(
            [*sets, *self._blobs.keep_commands([keys.result_blob(record["id"])])]
        )
        outcomes = await self._publisher.publish_burst(messages, atomic=True)
        if not all(outcome.ok for outcome in outcomes):
            _log.warning("outcome not published, the outbox sweep will", job_id=record["id"])
            return False
        await self._jobs.clear_after([(record["id"], revision)])
        return True

    async def note_dead_letter(self, record: Record, now: int) -> None:
        """List a dead letter under its tenant."""
        letter = (record.get("tenant", "default"), record["id"], now)
        commands = dead_letter_commands([letter], max_size=self._jobs.settings.dlq_max_size)
        await self._jobs.client.pipeline(commands)

    async def dead_letter(self, caller: Caller, job_id: str) -> dict[str, Any]:
        """Return a dead letter the caller may see. Raises NotFound for a missing or foreign one alike."""
        entry = await self._letters.get(job_id)
        if entry is None or (entry.get("tenant") != caller.tenant and not caller.cross_tenant):
            raise NotFound("dlq entry not found", code="dlq_entry_not_found")
        return entry

    async def retry(self, caller: Caller, job_id: str, idempotency_key: str = "") -> tuple[str, Outcome]:
        """Run a dead job again as a new one, judged afresh; return its id and the submit outcome.

        The entry goes once the new job is stored. The same key makes no second job. Raises NotFound, or Conflict when
        the payload expired.
        """
        new_id = _retry_id(job_id, caller.tenant, idempotency_key)
        made = await self._jobs.get(new_id) if idempotency_key else None
        if made is not None and (caller.cross_tenant or made.get("tenant") == caller.tenant):
            return new_id, Outcome(200, orjson.dumps({"job_id": new_id}), made.get("trace_id", ""), 0)
        await self.dead_letter(caller, job_id)
        request = await self._jobs.request(job_id)
        if request is None:
            raise InvalidInput("the dead letter has no job to run again", code="topic_unknown")
        context = await self._context_of(request)
        batch = SubmitBatch.again(
            request,
            context,
            job_id=new_id,
            trace_id=f"dlq-retry-{job_id}",
            submitted_by=caller.identity,
            labels={"retry": "true", "dlq_entry": job_id, "retry_of_job": job_id},
            env={"tenant_id": _tenant_of(request), "retry_of_job": job_id},
            now_us=now_us(),
        )
        outcome = (await self._submitter.run_batch(batch))[0]
        if outcome.status in {200, 403}:
            await self._letters.delete(job_id)
        return new_id, outcome

    async def remediate(
        self, caller: Caller, record: Record, remediation_id: str, idempotency_key: str
    ) -> Outcome:
        """Submit a job again as policy offered it; return the submit outcome.

        Raises Conflict (nothing offered, payload expired, key used for another remediation), InvalidInput, NotFound.
        """
        offer = chosen(record, remediation_id)
        request = await self._jobs.request(record["id"])
        if request is None:
            raise Conflict("the job has no stored request", code="context_expired")
        new_id = new_job_id(record["id"], caller.tenant, idempotency_key)
        labels = {"remediation_of": record["id"], "remediation_id": str(offer.get("id", ""))}
        await self._check_key(new_id, labels["remediation_id"])
        batch = SubmitBatch.again(
            remediated(request, offer),
            await self._context_of(request),
            job_id=new_id,
            trace_id=new_id,
            submitted_by=caller.identity,
            labels=labels,
            env={},
            now_us=now_us(),
        )
        return (await self._submitter.run_batch(batch))[0]

    async def _check_key(self, new_id: str, remediation_id: str) -> None:
        """Refuse an idempotency key that made a job of another remediation."""
        made = await self._jobs.request(new_id)
        if made is not None and orjson.loads(made)["labels"].get("remediation_id") != remediation_id:
            raise Conflict("idempotency key was used for another request", code="IDEMPOTENCY_CONFLICT")

    async def _context_of(self, request: bytes) -> bytes:
        pointer = str(orjson.loads(request).get("contextPtr", ""))
        context = await self._blobs.get(pointer.removeprefix("redis://")) if pointer else b""
        if context is None:
            raise Conflict("the payload of the job has expired", code="context_expired")
        return context


def _tenant_of(request: bytes) -> str:
    document = orjson.loads(request)
    return str(document.get("tenantId") or (document.get("env") or {}).get("tenant_id") or "default")


def _retry_id(job_id: str, tenant: str, idempotency_key: str) -> str:
    """Return `<job id>-retry-<8 hex>`; the same key gives the same id."""
    if not idempotency_key:
        return f"{job_id}-retry-{secrets.token_hex(4)}"
    digest = hashlib.sha256(f"{tenant}\0{job_id}\0{idempotency_key}".encode()).hexdigest()
    return f"{job_id}-retry-{digest[:8]}"
