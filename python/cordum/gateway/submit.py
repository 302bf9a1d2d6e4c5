"""Group commit of job submissions (gateway spec §9, §14.1; architecture §4).

Concurrent submissions share one policy call, one pipelined Redis step and one publish burst. While at most two batches
are in flight the next one collects whatever waits; an idle gateway handles a batch of one at once, there is no timer.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import orjson

from cordum._core import SubmitBatch
from cordum.audit import AuditWriter, held_decisions
from cordum.bus.messages import OutMessage, trace_text
from cordum.bus.publisher import Publisher
from cordum.config.gateway import GatewaySettings
from cordum.domain.errors import CordumError, Unavailable
from cordum.domain.states import TERMINAL_STATES
from cordum.gateway import metrics
from cordum.gateway.agent_binding import prove_agents
from cordum.gateway.backpressure import admit
from cordum.gateway.errors import envelope
from cordum.protocol import subjects
from cordum.protocol.kernel_client import PolicyClient
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.runtime.settle import settle
from cordum.store import keys
from cordum.store.boundary import BoundaryReader
from cordum.store.dlq import dead_letter_commands
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.job_sets import recent_commands, tenant_commands, trace_commands
from cordum.store.jobs import JobStore
from cordum.store.scripts import Command, script

__all__ = ["Item", "Outcome", "Submitter"]

BATCH_ITEMS: Final = 256
BATCH_BYTES: Final = 2_500_000
"""Bodies of one batch; a policy call carries about twice that and must stay below 7 MiB."""
BATCHES_IN_FLIGHT: Final = 2
PROMPT_CHARS: Final = 50_000
HELD_CONTEXT_TTL_S: Final = 30 * 86_400
_SETTLE_S: Final = 5.0
_REPLAY_FIELDS: Final = ("state", "safety_decision", "safety_reason", "trace_id", "approval_decision")

_log = get_logger()

Facts = tuple[str, str, bool, str, bool, str, bool]
"""Tenant, principal, whether the body may name the principal, key fingerprint, cross-tenant credential, bound
principal, whether the caller may speak for any agent."""
Item = tuple[bytes, Facts, str, str, str]
Headers = Mapping[str, str]
"""Body, facts of the caller, new job id, new trace id, idempotency key of the headers or query."""
Job = tuple[int, str, str, str, str, bytes]
Claim = tuple[int, str, str, str, str]


class Outcome(NamedTuple):
    """The HTTP answer of one submission; ``body`` is a JSON object, of errors without `request_id`."""

    status: int
    body: bytes
    trace_id: str
    retry_after_s: int


_UNAVAILABLE: Final = Outcome(
    503,
    orjson.dumps({"error": "service unavailable", "code": "service_unavailable", "status": 503}),
    "",
    2,
)


class Submitter:
    """Collects submissions into batches. Give ``run`` to the supervisor."""

    def __init__(
        self,
        settings: GatewaySettings,
        jobs: JobStore,
        kernel: PolicyClient,
        publisher: Publisher,
        configs: EffectiveConfigs,
        boundary: BoundaryReader,
        audit: AuditWriter,
    ) -> None:
        self._settings = settings
        self._audit = audit
        self._jobs = jobs
        self._kernel = kernel
        self._configs = configs
        self._boundary = boundary
        self._publisher = publisher
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._traces: dict[str, Headers] = {}
        self._wake = asyncio.Event()
        self._in_flight = 0
        self._stopping = False

    async def submit(self, item: Item, trace: Headers | None = None) -> Outcome:
        """Judge, store and publish one submission, with the trace headers of its request. Raises Unavailable when the
        store does not answer."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wake.set()
        with self._traced((item,), trace):
            return await future

    @contextmanager
    def _traced(self, items: Sequence[Item], trace: Headers | None) -> Iterator[None]:
        """Have the submits of these items carry trace headers."""
        ids = [item[2] for item in items] if trace else []
        self._traces.update((job_id, trace or {}) for job_id in ids)
        try:
            yield
        finally:
            for job_id in ids:
                del self._traces[job_id]

    async def submit_many(self, items: Sequence[Item], trace: Headers | None = None) -> list[Outcome]:
        """Submit several at once, through the same batches; outcomes in order."""
        with self._traced(items, trace):
            return await self._submit_many(items)

    async def _submit_many(self, items: Sequence[Item]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        self._wake.set()
        outcomes: list[Outcome] = []
        for future in futures:
            try:
                outcomes.append(await future)
            except Unavailable:
                outcomes.append(_UNAVAILABLE)
        return outcomes

    def stop(self) -> None:
        """Make ``run`` end once everything that waits is answered."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Form and process batches until ``stop``."""
        async with asyncio.TaskGroup() as tasks:
            while not (self._stopping and not self._waiting):
                while self._waiting and self._in_flight < BATCHES_IN_FLIGHT:
                    self._in_flight += 1
                    tasks.create_task(self._process(self._next_batch()))
                self._wake.clear()
                if not self._stopping or self._waiting:
                    await self._wake.wait()

    def _next_batch(self) -> list[tuple[Item, "asyncio.Future[Outcome]"]]:
        size = count = 0
        for item, _ in self._waiting[:BATCH_ITEMS]:
            size += len(item[0])
            if count and size > BATCH_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _process(self, batch: list[tuple[Item, "asyncio.Future[Outcome]"]]) -> None:
        try:
            outcomes = await settle(self._submit_items([item for item, _ in batch]), _SETTLE_S)
        except Exception as error:  # the border of a batch: every caller must hear of it
            if not isinstance(error, CordumError):
                _log.error("submit batch failed", exc_info=error)
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
        finally:
            self._in_flight -= 1
            self._wake.set()

    async def _submit_items(self, items: list[Item]) -> list[Outcome]:
        metrics.BATCH_SIZE.observe(len(items))
        limit = min(self._settings.max_job_payload_bytes, 2 << 20)
        traces = [self._traces.get(item[2]) for item in items] if self._traces else ()
        return await self.run_batch(SubmitBatch(items, limit, PROMPT_CHARS, now_us()), traces)

    async def run_batch(self, batch: SubmitBatch, traces: Sequence[Headers | None] = ()) -> list[Outcome]:
        """Take a parsed batch through checks, claims, judgement, storage and publishing. ``traces`` has the trace
        headers per item, if any has some. Raises Unavailable."""
        for finding in batch.check(await self._boundary.fresh()):
            _report(*finding)
        agents = batch.agents()
        if agents:
            await prove_agents(self._jobs.client, batch, agents)
        claims = batch.claims()
        if claims:
            await self._claim(batch, claims)
        admission = await admit(self._jobs.client, batch, self._configs)
        request = batch.policy_request(admission.configs)
        answer = await self._judge(request) if request else None
        if answer is not None:
            self._note(request, answer)
        for index, trace in enumerate(traces):
            if trace:
                batch.trace(index, trace_text(trace))
        groups, jobs, messages, planned = batch.plan(answer, self._jobs.partitions)
        outcomes = [Outcome(*outcome) for outcome in planned]
        await self._take_back(admission.counted, jobs)
        if jobs:
            now = now_us()
            replies = await self._jobs.apply(
                "job_create",
                [(number, blobs) for number, _, blobs in groups],
                self._side(jobs, now),
                now_us=now,
            )
            created = await self._settle_creations(groups, replies, jobs, outcomes)
            await self._publish([message for message in messages if message[0] in created], traces)
        for word, count in Counter(map(_word, outcomes)).items():
            metrics.SUBMISSIONS.labels(word).inc(count)
        return outcomes

    async def _judge(self, request: bytes) -> bytes | None:
        """Return the kernel's answer; None when it does not answer: the scheduler then holds the jobs."""
        try:
            return await self._kernel.evaluate_encoded(request, self._settings.kernel_timeout_s)
        except Unavailable as error:
            _log.warning(
                "jobs accepted without judgement, the scheduler will hold them", reason=error.message
            )
            return None

    def _note(self, request: bytes, answer: bytes) -> None:
        """Tell the audit trail what is refused or held here. What runs the scheduler judges again, and of a throttled
        request nothing is stored (policy spec §16.4)."""
        for event in held_decisions(request, answer, "job.submit"):
            if event.decision in ("deny", "require_approval"):
                self._audit.offer(event)

    async def _take_back(self, counted: Sequence[tuple[str, str]], jobs: Sequence[Job]) -> None:
        """Jobs that are not stored after all are no open jobs; what is missed here the repair of the sets finds."""
        stored = {job[1] for job in jobs}
        commands: list[Command] = [
            ("ZREM", keys.tenant_open(tenant), job_id) for tenant, job_id in counted if job_id not in stored
        ]
        if commands:
            await self._jobs.client.pipeline(commands)

    def _side(self, jobs: Sequence[Job], now: int) -> list[Command]:
        """Return the writes in other slots that ride along: contexts, tenant and trace sets."""
        settings = self._settings
        held_ttl_s = max(settings.data_ttl_s, HELD_CONTEXT_TTL_S)
        commands: list[Command] = [
            (
                "SET",
                keys.context_blob(job_id),
                context,
                "EX",
                held_ttl_s if state == "APPROVAL_REQUIRED" else settings.data_ttl_s,
            )
            for _, job_id, _, _, state, context in jobs
        ]
        commands += tenant_commands(
            [
                (tenant, job_id, now, state not in TERMINAL_STATES, False)
                for _, job_id, tenant, _, state, _ in jobs
            ]
        )
        commands += recent_commands(
            [(tenant, job_id, now) for _, job_id, tenant, *_ in jobs], recent_max=settings.job_recent_max
        )
        commands += trace_commands([(trace_id, job_id) for _, job_id, _, trace_id, _, _ in jobs])
        denied = [(tenant, job_id, now) for _, job_id, tenant, _, state, _ in jobs if state == "DENIED"]
        if denied:
            commands += dead_letter_commands(denied, max_size=settings.dlq_max_size)
        return commands

    async def _settle_creations(
        self,
        groups: Sequence[tuple[int, list[int], list[bytes]]],
        replies: Sequence[Sequence[list[object]]],
        jobs: Sequence[Job],
        outcomes: list[Outcome],
    ) -> set[int]:
        """Return the indexes of jobs made now; correct the outcomes of the others."""
        created: set[int] = set()
        lost: list[int] = []
        for (_, indexes, _), answers in zip(groups, replies, strict=True):
            for index, answer in zip(indexes, answers, strict=True):
                if answer[0] == b"moved":
                    created.add(index)
                elif answer[0] == b"error":
                    outcomes[index] = _UNAVAILABLE
                else:
                    lost.append(index)
        if lost:
            ids = {job[0]: job[1] for job in jobs}
            for index, replay in zip(lost, await self._replays([ids[i] for i in lost]), strict=True):
                outcomes[index] = replay or _UNAVAILABLE
        return created

    async def _publish(
        self, messages: Sequence[tuple[int, str, bytes]], traces: Sequence[Headers | None]
    ) -> None:
        """Hand jobs to the scheduler. A failure leaves them PENDING for the replayer (README decision 42)."""
        if not messages:
            return
        burst = [
            OutMessage(subjects.SUBMIT, payload, message_id, traces[index] if traces else None)
            for index, message_id, payload in messages
        ]
        outcomes = await self._publisher.publish_burst(burst, atomic=True)
        failed = [outcome.error for outcome in outcomes if not outcome.ok]
        if failed:
            _log.warning(
                "jobs stored but not published, the replayer will", count=len(failed), error=failed[0]
            )

    # -- idempotency ---------------------------------------------------------------------------------------------------

    async def _claim(self, batch: SubmitBatch, claims: Sequence[Claim]) -> None:
        """Bind keys to jobs; answer replays. A key whose job was never made is completed under its stored id."""
        stored = await self._claim_keys(claims)
        replayed: list[tuple[int, str]] = []
        for (index, _, _, job_id, request_hash), claimed in zip(claims, stored, strict=True):
            if claimed is None:
                batch.answer(index, *_UNAVAILABLE)
            elif claimed[0] != request_hash:
                text = "idempotency key was used for another request"
                body = envelope(409, text, "", code="IDEMPOTENCY_CONFLICT")
                batch.answer(index, 409, _without_request_id(body))
            elif claimed[1] != job_id:
                replayed.append((index, claimed[1]))
        if not replayed:
            return
        answers = await self._replays([job_id for _, job_id in replayed])
        for (index, job_id), answer in zip(replayed, answers, strict=True):
            if answer is None:
                batch.rename(index, job_id)
            else:
                batch.answer(index, *answer)

    async def _claim_keys(self, claims: Sequence[Claim]) -> list[tuple[str, str] | None]:
        """Return (request hash, job id) each key stands for now; None where the store did not answer.

        The hash is claimed first, in the key's own slot: requests that differ never share a job id, so none can
        replace the context of another one.
        """
        claim, ttl_s = script("idem_claim"), max(1, int(self._settings.idempotency_ttl_s))
        commands: list[Command] = []
        for _, tenant, key, job_id, request_hash in claims:
            commands.append(claim.command((keys.idempotency_hash(tenant, key),), (request_hash, ttl_s)))
            commands.append(claim.command((keys.idempotency(tenant, key),), (job_id, ttl_s)))
        replies = await self._jobs.client.pipeline(commands)
        found: list[tuple[str, str] | None] = []
        for first, second in zip(replies[::2], replies[1::2], strict=True):
            usable = isinstance(first, bytes) and isinstance(second, bytes)
            found.append((first.decode(), second.decode()) if usable else None)
        return found

    async def _replays(self, job_ids: Sequence[str]) -> list[Outcome | None]:
        """Return what a repeated submission of these jobs is answered; None for a job that does not exist."""
        records = await self._jobs.fields(job_ids, _REPLAY_FIELDS)
        return [_replay(job_id, fields) for job_id, fields in zip(job_ids, records, strict=True)]


def _replay(job_id: str, fields: Sequence[bytes | None]) -> Outcome | None:
    state, decision, reason, trace_id, approval = [(value or b"").decode() for value in fields]
    if not state:
        return None
    trace_id = trace_id or job_id
    body: dict[str, object] = {"job_id": job_id, "trace_id": trace_id}
    if state == "DENIED" and decision == "DENY" and not approval:
        body = {"error": reason or "denied by policy", "code": "policy_denied", "status": 403, **body}
        return Outcome(403, orjson.dumps(body), trace_id, 0)
    if state == "APPROVAL_REQUIRED":
        body |= {"status": "approval_required", "reason": reason}
    return Outcome(200, orjson.dumps(body), trace_id, 0)


def _report(
    tenant: str, topic: str, schema_id: str, code: str, refused: bool, violations: list[tuple[str, str]]
) -> None:
    """Tell of a payload that does not fit the schema of its topic, or of a schema that is at fault itself."""
    _log.warning(
        code,
        tenant=tenant,
        topic=topic,
        schema_id=schema_id,
        refused=refused,
        violations=[{"path": path, "message": message} for path, message in violations],
    )


def _without_request_id(body: bytes) -> bytes:
    document = orjson.loads(body)
    del document["request_id"]
    return orjson.dumps(document)


def _word(outcome: Outcome) -> str:
    match outcome.status:
        case 200:
            return "held" if b'"approval_required"' in outcome.body else "accepted"
        case 403:
            return "denied"
        case 409:
            return "conflict"
        case 429:
            return "throttled"
        case 503:
            return "unavailable"
        case _:
            return "invalid"
