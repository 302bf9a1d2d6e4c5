"""The submit pipeline: batches of new jobs and due retries (scheduler spec §29).

decode → reads → policy → reservations → one commit per partition → one publish burst → ack. Python touches
a batch a constant number
of times; the planner (`cordum._core`) holds every rule.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from cordum._core import Planner, SubmitEffects, SubmitPlan
from cordum.bus.messages import MAX_DELIVERIES, InMessage, OutMessage, PubOutcome, Verdict
from cordum.bus.publisher import Publisher
from cordum.domain.errors import CordumError
from cordum.domain.states import ACTIVE_STATES, TERMINAL_STATES
from cordum.protocol import subjects
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.outgoing import Outgoing
from cordum.scheduler.rollback import roll_back
from cordum.scheduler.safety import SafetyClient
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.trail import Trail
from cordum.scheduler.verdicts import NAK_KIND, settle_verdicts
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.job_sets import reserve_tenant_slots
from cordum.store.jobs import JobStore
from cordum.store.schedule import drop_strays, make_due

_log = structlog.get_logger("cordum.scheduler")
_RESCUE_US = 30_000_000
_EMIT_RETRY_S = 0.5
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
        self._consumer = consumer
        self.waiting: set[str] = set()
        """Pools some parked job waits for, as far as this process knows."""
        self.on_parked: Callable[[], None] | None = None
        """Called after a batch that parked jobs, so that the wheel can plan its next turn."""
        self.perform_duties: Callable[[Sequence[str]], Awaitable[None]] | None = None
        """Publishes what ended jobs still owe."""

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Process one batch of `sys.job.submit`. Raises Unavailable when the store is away: nothing is
        acknowledged then."""
        plan = self._planner.plan_submit(
            [message.data for message in messages],
            [message.delivered for message in messages],
            [],
            int.from_bytes(os.urandom(8), "little"),
        )
        metrics.count_invalid(subjects.SUBMIT, plan.invalid())
        with metrics.IN_FLIGHT.track_inprogress():
            await self._run(plan, len(messages))
        verdicts = await self._rescued(plan, messages)
        return await settle_verdicts(self._letters, self._consumer, subjects.STREAM_SYS, messages, verdicts)

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

    async def handle_due(self, job_ids: list[str]) -> None:
        """Process parked jobs that are due, as if they had been delivered."""
        plan = self._planner.plan_submit([], [], job_ids, int.from_bytes(os.urandom(8), "little"))
        with metrics.IN_FLIGHT.track_inprogress():
            await self._run(plan, len(job_ids))

    async def _run(self, plan: SubmitPlan, size: int) -> None:
        metrics.BATCH_SIZE.observe(size)
        started_s = monotonic_s()
        await self._read(plan)
        await self._create(plan)
        await self._configure(plan)
        await self._safety.judge(plan)
        await self._reserve(plan)
        judged_s = monotonic_s()
        effects = await self._commit(plan, size)
        committed_s = monotonic_s()
        await self._publish(effects)
        await self._look_after(plan)
        metrics.BATCH_STAGE.labels("judge").observe(judged_s - started_s)
        metrics.BATCH_STAGE.labels("commit").observe(committed_s - judged_s)
        metrics.BATCH_STAGE.labels("publish").observe(monotonic_s() - committed_s)

    async def _read(self, plan: SubmitPlan) -> None:
        ids = plan.reads()
        if not ids:
            return
        records = await self._jobs.get_many(ids)
        requests = await self._jobs.requests(ids)
        plan.supply(list(zip(records, requests, strict=True)), now_us())

    async def _create(self, plan: SubmitPlan) -> None:
        now = now_us()
        creates = plan.creates(now)
        if not creates:
            return
        replies = await self._jobs.apply(
            "job_create", [(partition, (packed,)) for _, partition, packed in creates], now_us=now
        )
        plan.created(
            [(index, reply[0][0] == b"moved") for (index, _, _), reply in zip(creates, replies, strict=True)],
            now,
        )

    async def _configure(self, plan: SubmitPlan) -> None:
        scopes = plan.config_scopes()
        configs = await self._configs.many(scopes)
        plan.supply_configs([(config.for_worker, config.for_policy) for config in configs])

    async def _reserve(self, plan: SubmitPlan) -> None:
        now = now_us()
        wanted = plan.reservations(now)
        granted = await reserve_tenant_slots(self._jobs.client, wanted, now) if wanted else set()
        plan.refused([job_id for _, _, ids in wanted for job_id in ids if job_id not in granted])

    async def _commit(self, plan: SubmitPlan, size: int) -> SubmitEffects:
        now = now_us()
        groups = plan.commits(os.urandom(4 * max(size, 1)), now)
        self._side.tenants(plan.admissions())
        replies = await commit(self._jobs, "sched_commit", groups, self._side, now) if groups else []
        return plan.apply([reply for group in replies for reply in group], now)

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

    async def _list_anew(self, contested: Sequence[tuple[str, str]]) -> None:
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
                self._side.inactive(tenant, job_id)

    async def _publish(self, effects: SubmitEffects) -> None:
        metrics.count(effects.counts)
        await self._safety.note_bypassed(effects.bypassed)
        self.waiting.update(effects.waiting)
        if self.on_parked is not None and any(name in _PARK_CAUSES for name, _ in effects.counts):
            self.on_parked()
        self._side.tenants(effects.tenants)
        for tenant, job_id in effects.released:
            self._side.inactive(tenant, job_id)
        self._side.dead_letters(effects.dead_letters)
        self._side.assignments(effects.assignments)
        if effects.dispatches and effects.events:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish_dispatches(effects))
                group.create_task(self.publish_events(effects.events, effects.duties))
        elif effects.dispatches:
            await self._publish_dispatches(effects)
        elif effects.events:
            await self.publish_events(effects.events, effects.duties)
        if effects.contested:
            await self._list_anew(effects.contested)

    async def _publish_dispatches(self, effects: SubmitEffects) -> None:
        dispatches = await self._with_configs(effects)
        outcomes = await self._publisher.publish_burst(_out(dispatches))
        metrics.observe_latency(effects.arrivals, now_us())
        failed: list[tuple[Outgoing, PubOutcome]] = []
        confirmed: list[str] = []
        for outgoing, outcome in zip(dispatches, outcomes, strict=True):
            if outcome.ok:
                confirmed.append(outgoing[3])
            else:
                failed.append((outgoing, outcome))
        undo = {job_id: (topic, failures) for job_id, topic, failures in effects.undo}
        self._side.confirmed(confirmed, [job_id for job_id in confirmed if undo[job_id][1]])
        if failed:
            await roll_back(self._planner, self._jobs, failed, undo)

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

    async def publish_events(self, events: Sequence[Outgoing], duties: Sequence[str]) -> set[str]:
        """Publish accepted results and dead-letter events; return the ids of jobs with one that failed.

        It is tried once more after half a second and then stays a duty of its job, for the sweep.
        """
        left = await self._publish_once(events)
        if left:
            await asyncio.sleep(_EMIT_RETRY_S)
            left = await self._publish_once(left)
        failed = {event[3] for event in left}
        await self._count_unsent([event[3] for event in left if event[0] == subjects.DLQ])
        self._side.duties_done(job_id for job_id in duties if job_id not in failed)
        return failed

    async def _publish_once(self, events: Sequence[Outgoing]) -> list[Outgoing]:
        outcomes = await self._publisher.publish_burst(_out(events), atomic=True)
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
        return await jobs.apply(script, groups, riding, now_us=now)
    except CordumError:
        side.give_back(riding)
        raise


def _out(messages: Sequence[Outgoing]) -> list[OutMessage]:
    return [OutMessage(subject, payload, message_id) for subject, payload, message_id, _ in messages]
