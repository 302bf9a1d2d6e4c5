"""The submit pipeline: batches of new jobs and due retries (scheduler spec §29).

decode → reads → policy → reservations → one commit per partition → one publish burst → ack. Python touches
a batch a constant number
of times; the planner (`cordum._core`) holds every rule.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from cordum._core import Planner, SubmitEffects, SubmitPlan
from cordum.bus.messages import (
    MAX_DELIVERIES,
    InMessage,
    OutMessage,
    PubOutcome,
    Verdict,
    trace_context,
    trace_headers,
    trace_text,
)
from cordum.bus.publisher import Publisher
from cordum.domain.errors import CordumError, Unavailable
from cordum.domain.states import ACTIVE_STATES, TERMINAL_STATES
from cordum.protocol import subjects
from cordum.runtime.clock import monotonic_s, now_us
from cordum.runtime.failpoints import reach
from cordum.scheduler import metrics
from cordum.scheduler.admission import Admission
from cordum.scheduler.outgoing import Outgoing
from cordum.scheduler.pace import Pace
from cordum.scheduler.protocol_alerts import Refused
from cordum.scheduler.rollback import Undo, roll_back
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.trail import Trail
from cordum.scheduler.verdicts import NAK_KIND, settle_verdicts
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.job_sets import reserve_tenant_slots
from cordum.store.jobs import JobStore
from cordum.store.keys import context_blob
from cordum.store.schedule import drop_strays, make_due

_log = structlog.get_logger("cordum.scheduler")
PUBLISH_WITHIN_S = 4.0
"""After its commit a dispatch may be published for so long: together with the 5 s of the publish less than the age
at which others settle it."""
_RESCUE_US = 30_000_000
_EMIT_RETRY_S = 0.5
_TAKE_WITHIN_S = 0.05
_PARK_CAUSES = frozenset(
    {
        "throttle",
        "tenant_limit",
        "tier_limit_exceeded",
        "safety_unavailable",
        "no_workers",
        "pool_overloaded",
        "no_pool_mapping",
    }
)


class SubmitPipeline:
    """Handles batches; safe to run for several batches at once."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        letters: DeadLetterStore,
        safety: SafetyClient,
        publisher: Publisher,
        side_writes: SideWrites,
        configs: EffectiveConfigs,
        trail: Trail,
        admission: Admission,
        pace: Pace,
        consumer: str,
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._letters = letters
        self._safety = safety
        self._publisher = publisher
        self._side = side_writes
        self._configs = configs
        self._trail = trail
        self._admission = admission
        self._pace = pace
        self._consumer = consumer
        self.waiting: set[str] = set()
        """Pools some parked job waits for, as far as this process knows."""
        self.held: set[str] = set()
        """Leased jobs that wait for a batch or are in one."""
        self._due: deque[str] = deque()
        self._taken = asyncio.Event()
        self.is_backed_up: Callable[[], bool] = lambda: False
        """Tells whether new messages wait for a batch."""
        self.on_refused: Refused | None = None
        """Hears of packets that break the protocol."""
        self.on_parked: Callable[[], None] | None = None
        """Called after a batch that parked jobs, so that the wheel can plan its next turn."""
        self.perform_duties: Callable[[Sequence[str]], Awaitable[None]] | None = None
        """Publishes what ended jobs still owe."""

    @property
    def batch(self) -> int:
        """Jobs of a batch at most, now."""
        return self._pace.batch

    def batch_limit(self) -> int:
        """Messages of the next batch at most: half of it is left to due jobs while some wait (scheduler spec §32)."""
        return max(1, self._pace.batch // 2) if self._due else self._pace.batch

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Process one batch of `sys.job.submit`. Raises Unavailable when the store is away: nothing is
        acknowledged then."""
        async with self._pace.slot():
            due = self._take_due(len(messages))
            plan = self._planner.plan_submit(
                [message.data for message in messages],
                [message.delivered for message in messages],
                due,
                int.from_bytes(os.urandom(8), "little"),
            )
            if (invalid := plan.invalid()) and self.on_refused is not None:
                refused = [(messages[at].data, reason) for at, reason in invalid]
                await self.on_refused(subjects.SUBMIT, refused)
            _note_traces(plan, messages)
            await self._run(plan, len(messages) + len(due), due)
        reach("submit.answer")
        verdicts = await self._rescued(plan, messages)
        return await settle_verdicts(self._letters, self._consumer, subjects.STREAM_SYS, messages, verdicts)

    async def handle_due(self, job_ids: Sequence[str]) -> int:
        """Process leased jobs as if they had been delivered; return how many were dispatched. Raises Unavailable."""
        self.held.update(job_ids)
        async with self._pace.slot():
            return await self._run_due(job_ids)

    async def feed(self, job_ids: Sequence[str]) -> None:
        """Have leased jobs processed: with new messages while some wait, else at once. Raises Unavailable."""
        self._due.extend(job_ids)
        self.held.update(job_ids)
        while self._due:
            if self.is_backed_up():
                # The next batches of messages take them along.
                self._taken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TAKE_WITHIN_S):
                        await self._taken.wait()
                continue
            async with self._pace.slot():
                await self._run_due([self._due.popleft() for _ in range(min(len(self._due), self.batch))])

    def _take_due(self, messages: int) -> list[str]:
        """Due jobs for a batch of so many messages: at most half of the batch while further messages wait."""
        free = self._pace.batch - messages
        count = max(0, min(len(self._due), free, self._pace.batch // 2 if self.is_backed_up() else free))
        taken = [self._due.popleft() for _ in range(count)]
        self._taken.set()
        return taken

    async def _run_due(self, job_ids: Sequence[str]) -> int:
        if not job_ids:
            return 0
        plan = self._planner.plan_submit([], [], list(job_ids), int.from_bytes(os.urandom(8), "little"))
        return await self._run(plan, len(job_ids), job_ids)

    async def _rescued(self, plan: SubmitPlan, messages: Sequence[InMessage]) -> list[tuple[int, float]]:
        """Park the jobs of messages that were delivered too often, and acknowledge those (scheduler spec §4).

        A message whose job has no record is left to the poison rules.
        """
        verdicts = plan.verdicts()
        last = {
            plan.job_of(position): position
            for position, message in enumerate(messages)
            if verdicts[position][0] == NAK_KIND and message.delivered >= MAX_DELIVERIES
        }
        ids = [job_id for job_id in last if job_id]
        if not ids:
            return verdicts
        try:
            rows = await self._jobs.fields(ids, ("state",))
            stored = [job_id for job_id, (state,) in zip(ids, rows, strict=True) if state is not None]
            await make_due(self._jobs, stored, at_us=now_us() + _RESCUE_US)
        except CordumError as error:
            _log.warning("jobs of often delivered messages not parked yet", error=error.message)
            return verdicts
        for job_id in stored:
            _log.warning("submit delivered too often, its job is parked", job_id=job_id)
            verdicts[last[job_id]] = (0, 0.0)
        return verdicts

    async def _run(self, plan: SubmitPlan, size: int, due: Sequence[str]) -> int:
        """Take a batch through all steps; return how many jobs were dispatched. Raises Unavailable."""
        metrics.BATCH_SIZE.observe(size)
        metrics.IN_FLIGHT.inc(size)
        try:
            return await self._steps(plan, size)
        except Unavailable:
            self._pace.store_failed()
            raise
        finally:
            metrics.IN_FLIGHT.dec(size)
            self.held.difference_update(due)

    async def _steps(self, plan: SubmitPlan, size: int) -> int:
        started_s = monotonic_s()
        reach("submit.read")
        await self._read(plan)
        reach("submit.create")
        await self._create(plan)
        reach("submit.admit")
        await self._admission.admit(plan)
        reach("submit.configure")
        await self._configure(plan)
        reach("submit.judge")
        await self._safety.judge(plan)
        reach("submit.reserve")
        reserved_us = await self._reserve(plan)
        judged_s = monotonic_s()
        reach("submit.commit")
        effects, listed_us = await self._commit(plan, size)
        committed_s = monotonic_s()
        reach("submit.publish")
        self._side.released((*slot, reserved_us) for slot in effects.released)
        self._side.touched(effects.touched, listed_us)
        await self._publish(effects, judged_s)
        if effects.contested:
            await self._list_anew(effects.contested, listed_us)
        published_s = monotonic_s()
        reach("submit.look_after")
        await self._look_after(plan)
        self._pace.took("commit", committed_s - judged_s)
        self._pace.took("publish", published_s - committed_s)
        metrics.LOCK_WAIT.observe(committed_s - judged_s)
        metrics.BATCH_STAGE.labels("judge").observe(judged_s - started_s)
        metrics.BATCH_STAGE.labels("commit").observe(committed_s - judged_s)
        metrics.BATCH_STAGE.labels("publish").observe(published_s - committed_s)
        return len(effects.dispatches)

    async def _read(self, plan: SubmitPlan) -> None:
        ids = plan.reads()
        if not ids:
            return
        plan.supply(await self._jobs.with_requests(ids), now_us())

    async def _create(self, plan: SubmitPlan) -> None:
        now = now_us()
        creates = plan.creates(now)
        if not creates:
            return
        grouped: dict[int, list[Any]] = {}
        for create in creates:
            grouped.setdefault(create[1], []).append(create)
        calls = [(partition, [packed for _, _, packed, *_ in group]) for partition, group in grouped.items()]
        replies = await self._jobs.apply("job_create", calls, now_us=now)
        outcomes = [
            (create, reply[0] == b"moved")
            for group, answers in zip(grouped.values(), replies, strict=True)
            for create, reply in zip(group, answers, strict=True)
        ]
        plan.created([(create[0], made) for create, made in outcomes], now)
        for (_, _, _, tenant, job_id, trace_id), made in outcomes:
            if made:
                self._side.tenants([(tenant, job_id, True, False)])
                self._side.touched([(tenant, job_id)], now)
                self._side.trace(trace_id, job_id)

    async def _configure(self, plan: SubmitPlan) -> None:
        scopes = plan.config_scopes()
        configs = await self._configs.many(scopes)
        plan.supply_configs([(config.for_worker, config.for_policy) for config in configs])

    async def _reserve(self, plan: SubmitPlan) -> int:
        """Reserve slots under the limits of tenants; return the time they are listed as of."""
        now = now_us()
        wanted = plan.reservations(now)
        granted = await reserve_tenant_slots(self._jobs.client, wanted, now) if wanted else set()
        plan.refused([job_id for _, _, ids in wanted for job_id in ids if job_id not in granted])
        return now

    async def _commit(self, plan: SubmitPlan, size: int) -> tuple[SubmitEffects, int]:
        """Commit the batch; return what follows and the time its admissions are listed as of."""
        now = now_us()
        groups = plan.commits(os.urandom(4 * max(size, 1)), now)
        admissions = plan.admissions()
        self._side.tenants(admissions, now)
        self._side.touched(((tenant, job_id) for tenant, job_id, _, _ in admissions), now)
        replies = await commit(self._jobs, "sched_commit", groups, self._side, now) if groups else []
        return plan.apply([reply for group in replies for reply in group], now), now

    async def _look_after(self, plan: SubmitPlan) -> None:
        """Report what was refused, pay what ended jobs owe, drop due entries nobody waits for."""
        await self._trail.submits(plan.reports())
        try:
            if (owed := plan.owed()) and self.perform_duties is not None:
                await self.perform_duties(owed)
            if strays := plan.strays():
                await drop_strays(self._jobs, strays)
        except CordumError as error:
            _log.warning("duties and stray entries are left to the sweeps", error=error.message)

    async def _list_anew(self, contested: Sequence[tuple[str, str]], listed_us: int) -> None:
        """Take back the listing of jobs that were admitted here but moved by somebody else.

        The admission is stored by now, so a job whose state read now is active is taken off by whoever ends it.
        """
        ids = [job_id for _, job_id in contested]
        try:
            rows = await self._jobs.fields(ids, ("state",))
        except CordumError as error:
            _log.warning("the repair of tenant sets has to look after moved jobs", error=error.message)
            return
        for (tenant, job_id), (state,) in zip(contested, rows, strict=True):
            if state is None or state.decode() in TERMINAL_STATES:
                self._side.tenants([(tenant, job_id, False, False)])
            elif state.decode() not in ACTIVE_STATES:
                self._side.released([(tenant, job_id, listed_us)])

    async def _publish(self, effects: SubmitEffects, since_s: float) -> None:
        metrics.count(effects.counts)
        await self._safety.note_bypassed(effects.bypassed)
        self.waiting.update(effects.waiting)
        if self.on_parked is not None and any(name in _PARK_CAUSES for name, _ in effects.counts):
            self.on_parked()
        self._side.tenants(effects.tenants)
        self._side.dead_letters(effects.dead_letters)
        self._side.assignments(effects.assignments)
        if effects.dispatches and effects.events:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish_dispatches(effects, since_s))
                group.create_task(self.publish_events(effects.events, effects.duties))
        elif effects.dispatches:
            await self._publish_dispatches(effects, since_s)
        elif effects.events:
            await self.publish_events(effects.events, effects.duties)

    async def _publish_dispatches(self, effects: SubmitEffects, since_s: float) -> None:
        dispatches = await self._with_configs(effects)
        if monotonic_s() - since_s > PUBLISH_WITHIN_S:
            # A process that stood still may be taken for dead: somebody settles these dispatches by now.
            _log.warning("committed too long ago to publish, left to settling", jobs=len(dispatches))
            return
        outcomes = await self._publisher.publish_burst(_out(dispatches, effects.traces))
        reach("submit.confirm")
        metrics.observe_latency(effects.arrivals, now_us())
        failed: list[tuple[Outgoing, PubOutcome]] = []
        confirmed: list[tuple[str, str]] = []
        for outgoing, outcome in zip(dispatches, outcomes, strict=True):
            if outcome.ok:
                confirmed.append((outgoing[3], outgoing[2].removeprefix("dispatch:")))
            else:
                failed.append((outgoing, outcome))
        # Jobs that had to wait: their payload has to outlive the attempt, too.
        waited = [
            out[3] for out, (_, at_us) in zip(effects.dispatches, effects.arrivals, strict=True) if not at_us
        ]
        self._side.results_kept([context_blob(job_id) for job_id in waited])
        undo = {job_id: Undo(topic, failures, rev) for job_id, topic, failures, rev in effects.undo}
        self._side.confirmed(confirmed, [job_id for job_id, _ in confirmed if undo[job_id].failures])
        if failed:
            ended = await roll_back(self._planner, self._jobs, failed, undo, self._side)
            if ended and self.perform_duties is not None:
                await self.perform_duties(ended)

    async def _with_configs(self, effects: SubmitEffects) -> Sequence[Outgoing]:
        """Store the configurations dispatches point to; return the dispatches that can be published now.

        The others stay unconfirmed and are settled later.
        """
        if not effects.configs:
            return effects.dispatches
        try:
            await self._side.store_configs([(key, text) for key, _, text in effects.configs])
        except CordumError as error:
            _log.warning("dispatches wait for their configuration to be stored", error=error.message)
            held = {job_id for _, job_id, _ in effects.configs}
            return [dispatch for dispatch in effects.dispatches if dispatch[3] not in held]
        return effects.dispatches

    async def publish_events(
        self,
        events: Sequence[Outgoing],
        duties: Sequence[tuple[str, int]],
        publisher: Publisher | None = None,
    ) -> set[str]:
        """Publish accepted results and dead-letter events, by a ``publisher`` of the caller's if given.

        Return the ids of jobs with one that failed: it is tried once more after half a second and then stays a duty of
        its job, for the sweep.
        """
        left = await self._publish_once(events, publisher)
        if left:
            await asyncio.sleep(_EMIT_RETRY_S)
            left = await self._publish_once(left, publisher)
        failed = {event[3] for event in left}
        await self._count_unsent([event[3] for event in left if event[0] == subjects.DLQ])
        self._side.duties_done((job_id, rev) for job_id, rev in duties if job_id not in failed)
        return failed

    async def _publish_once(self, events: Sequence[Outgoing], publisher: Publisher | None) -> list[Outgoing]:
        outcomes = await (publisher or self._publisher).publish_burst(_out(events), atomic=True)
        return [event for event, outcome in zip(events, outcomes, strict=True) if not outcome.ok]

    async def _count_unsent(self, job_ids: Sequence[str]) -> None:
        if not job_ids:
            return
        try:
            topics = [(topic or b"").decode() for (topic,) in await self._jobs.fields(job_ids, ("topic",))]
        except CordumError:  # the count must not depend on the store
            topics = [""] * len(job_ids)
        for topic in topics:
            metrics.DLQ_EMIT_FAILURES.labels(self._planner.metric_topic(topic)).inc()


async def commit(
    jobs: JobStore, script: str, groups: Sequence[tuple[int, Sequence[bytes]]], side: SideWrites, now: int
) -> list[list[Any]]:
    """Apply packed changes, with the pending side writes in the same step. Raises Unavailable: nothing was sent."""
    riding = side.take()
    try:
        return await jobs.apply(script, groups, riding, now_us=now, unsent=side.give_back)
    except CordumError:
        side.give_back(riding)
        raise


def _note_traces(plan: SubmitPlan, messages: Sequence[InMessage]) -> None:
    """Have jobs keep the W3C trace headers of their messages (scheduler spec §8)."""
    for position, message in enumerate(messages):
        if message.has_trace and (parent := message.headers.get("traceparent")):
            context = trace_context(parent, message.headers.get("tracestate", ""))
            if context is not None:
                plan.trace(position, trace_text(context))


def _out(messages: Sequence[Outgoing], traces: Sequence[tuple[str, str]] = ()) -> list[OutMessage]:
    headers = {job_id: trace_headers(text) for job_id, text in traces}
    return [
        OutMessage(subject, payload, message_id, headers.get(job_id))
        for subject, payload, message_id, job_id in messages
    ]
