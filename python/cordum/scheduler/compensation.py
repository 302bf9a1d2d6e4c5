"""One compensation: from the remembered template to a submitted job or a dead letter (scheduler spec §14)."""

import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

import structlog

from cordum._core import Compensation, config_scope, policy_check, saga_compensation
from cordum.bus.messages import OutMessage
from cordum.bus.publisher import Publisher
from cordum.domain.errors import CordumError
from cordum.protocol import subjects
from cordum.protocol.cap import PolicyCheckResponse
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.packets import dead_letter_event
from cordum.scheduler.payloads import payload_of
from cordum.scheduler.safety import SafetyClient
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.dlq import DeadLetterStore, dead_letter_commands
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.job_sets import recent_commands, tenant_commands, trace_commands
from cordum.store.jobs import JobStore

__all__ = ["DENIED", "Compensations", "Run"]

DENIED: Final = "saga_compensation_denied"

_NAMESPACE: Final = UUID("5e1f3a52-6f0c-5d2b-9a1e-0c0a4d7c5a6a")
_DENY: Final = 2

_log = structlog.get_logger("cordum.scheduler")


@dataclass(frozen=True, slots=True)
class Run:
    """The saga a compensation belongs to."""

    scope: str
    tenant: str
    trace_id: str


class Compensations:
    """Makes jobs of templates. The id of a job follows from its template, so a repeated step makes no second one."""

    def __init__(
        self,
        jobs: JobStore,
        letters: DeadLetterStore,
        blobs: BlobStore,
        safety: SafetyClient,
        configs: EffectiveConfigs,
        publisher: Publisher,
    ) -> None:
        self._jobs = jobs
        self._letters = letters
        self._blobs = blobs
        self._safety = safety
        self._configs = configs
        self._publisher = publisher

    async def send(self, run: Run, template: bytes) -> str | None:
        """Record and submit one compensation.

        Returns the id of a job that was denied instead, whose duties the caller performs; empty when there is nothing
        left to do; None when the submit was not published and the rollback has to stop. Raises Unavailable.
        """
        job_id = _job_id(run, template)
        try:
            made = saga_compensation(template, job_id, run.trace_id or job_id, now_us())
        except ValueError as error:
            metrics.SAGA_UNMARSHAL_ERRORS.inc()
            await self.dead_letter(run, template, "saga_unmarshal_failed", str(error))
            return ""
        if made.tenant != run.tenant:
            await self.dead_letter(run, template, DENIED, "the compensation names another tenant")
            return ""
        denial = await self._denial(made)
        if denial:
            return await self.refuse(run, template, f"safety: denied: {denial}")
        await self._create(job_id, run, made)
        outcome = (
            await self._publisher.publish_burst(
                [OutMessage(subjects.SUBMIT, made.packet, f"jobreq:{job_id}")]
            )
        )[0]
        if not outcome.ok:
            metrics.SAGA_COMPENSATION_FAILED.inc()
            _log.warning("compensation not published", job_id=job_id, scope=run.scope, error=outcome.error)
            return None
        metrics.SAGA_DISPATCHED.inc()
        _log.info("compensation submitted", job_id=job_id, parent_job_id=made.parent_job_id, scope=run.scope)
        return ""

    async def refuse(self, run: Run, template: bytes, reason: str) -> str:
        """Record a compensation that may not run as a dead letter; return its id. Raises Unavailable."""
        job_id = _job_id(run, template)
        made = saga_compensation(template, job_id, run.trace_id or job_id, now_us(), reason)
        metrics.SAGA_COMPENSATION_FAILED.inc()
        _log.warning("compensation denied", job_id=job_id, scope=run.scope, reason=reason)
        await self._create(job_id, run, made, is_open=False)
        letter = (made.tenant, job_id, now_us())
        commands = dead_letter_commands([letter], max_size=self._jobs.settings.dlq_max_size)
        await self._jobs.client.pipeline(commands)
        return job_id

    async def _create(self, job_id: str, run: Run, made: Compensation, *, is_open: bool = True) -> None:
        now = now_us()
        extra = [
            *tenant_commands([(made.tenant, job_id, now, is_open, False)]),
            *recent_commands([(made.tenant, job_id, now)], recent_max=self._jobs.settings.job_recent_max),
            *trace_commands([(run.trace_id or job_id, job_id)]),
            ("SADD", keys.TENANTS, made.tenant),
        ]
        group = (self._jobs.partition(job_id), (made.create,))
        reply = (await self._jobs.apply("job_create", [group], extra, now_us=now))[0][0]
        if reply[0] == b"error":
            raise CordumError(reply[2].decode())

    async def _denial(self, made: Compensation) -> str:
        """Ask policy softly: only a plain DENY stops a compensation here, the submit path judges it again."""
        try:
            config = await self._configs.get(config_scope(made.request_json))
            payload = await payload_of(self._blobs, made.request_json)
            answer = await self._safety.check((policy_check(made.request_json, payload, config.for_policy),))
        except CordumError as error:
            _log.warning("no policy answer for a compensation", error=error.message)
            return ""
        if answer is None or answer.items[0].code:
            return ""
        response = PolicyCheckResponse.FromString(answer.items[0].response)
        return (response.reason or "denied") if response.decision == _DENY else ""

    async def dead_letter(self, run: Run, source: bytes, code: str, error: str) -> None:
        """Keep what can be no job where people look for it; ``source`` makes it one of its kind. Raises Unavailable."""
        metrics.SAGA_COMPENSATION_FAILED.inc()
        now = now_us()
        job_id = f"saga-{run.scope}-{hashlib.sha256(source).hexdigest()[:16]}"
        entry = {
            "job_id": job_id,
            "status": "JOB_STATUS_FAILED_FATAL",
            "reason": f"compensation of {run.scope}: {error}",
            "reason_code": code,
            "last_state": "FAILED",
            "tenant": run.tenant,
            "created_at": rfc3339(now),
        }
        _log.error("compensation cannot run", job_id=job_id, scope=run.scope, reason_code=code, error=error)
        await self._letters.put_poison(entry, now_us=now)
        event = dead_letter_event({"id": job_id, "state": "FAILED", "trace_id": run.trace_id}, entry)
        outcome = (await self._publisher.publish_burst([event]))[0]
        if not outcome.ok:
            metrics.DLQ_EMIT_FAILURES.labels("unknown").inc()


def _job_id(run: Run, template: bytes) -> str:
    digest = hashlib.sha256(template).hexdigest()
    return f"comp-{uuid5(_NAMESPACE, f'{run.scope}|{digest}')}"
