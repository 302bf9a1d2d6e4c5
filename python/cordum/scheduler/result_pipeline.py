"""The result pipeline: worker results become outcomes (scheduler spec §10, §29)."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cordum._core import Planner, ResultEffects, ResultPlan
from cordum.bus.messages import InMessage, Verdict
from cordum.bus.publisher import Publisher
from cordum.domain.errors import Unavailable
from cordum.protocol import subjects
from cordum.runtime.clock import monotonic_s, now_us
from cordum.runtime.failpoints import reach
from cordum.scheduler import metrics, output_metrics
from cordum.scheduler.output_checks import OutputChecks
from cordum.scheduler.pace import Pace
from cordum.scheduler.protocol_alerts import Misnamed, Refused
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.submit_pipeline import SubmitPipeline, commit
from cordum.scheduler.verdicts import settle_verdicts
from cordum.store.dlq import DeadLetterStore
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.jobs import JobStore, Record

Capacities = Iterable[tuple[str, str, bool]]


class ResultPipeline:
    """Handles batches of `sys.job.result`; ``on_capacity`` hears which pools have room again, ``on_sagas``
    which jobs have a saga duty left."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        letters: DeadLetterStore,
        submits: SubmitPipeline,
        side_writes: SideWrites,
        configs: EffectiveConfigs,
        on_sagas: Callable[[Sequence[str]], None],
        on_capacity: Callable[[Capacities], None],
        outputs: OutputChecks,
        publisher: Publisher,
        pace: Pace,
        consumer: str,
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._letters = letters
        self._submits = submits
        self._side = side_writes
        self._configs = configs
        self._on_sagas = on_sagas
        self._on_capacity = on_capacity
        self._publisher = publisher
        self._pace = pace
        self._outputs = outputs
        self.on_misnamed: Misnamed = lambda _packet, _pairs: None
        """Hears of results whose sender names another worker, where nobody has to prove anything."""
        self.on_refused: Refused | None = None
        """Hears of packets that break the protocol."""
        self.on_scans: Callable[[Sequence[str]], None] = lambda _: None
        """Hears which results are to be scanned later."""
        self.on_withheld: Callable[[Sequence[str]], None] = lambda _: None
        """Hears which results wait for their check."""
        self._consumer = consumer

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Process one batch. Raises Unavailable when the store is away: nothing is acknowledged then."""
        metrics.IN_FLIGHT.inc(len(messages))
        try:
            return await self._handle(messages)
        except Unavailable:
            self._pace.store_failed()
            raise
        finally:
            metrics.IN_FLIGHT.dec(len(messages))

    async def _handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        metrics.BATCH_SIZE.observe(len(messages))
        started_s = monotonic_s()
        plan = self._planner.plan_results(
            [message.data for message in messages], int.from_bytes(os.urandom(8), "little")
        )
        if (invalid := plan.invalid()) and self.on_refused is not None:
            refused = [(messages[at].data, reason) for at, reason in invalid]
            await self.on_refused(subjects.RESULT, refused)
        if misnamed := plan.misnamed():
            self.on_misnamed("result", misnamed)
        reach("result.read")
        ids = plan.reads()
        if ids:
            plan.supply(await self._jobs.get_many(ids))
            await self._supply_retry_limits(plan)
        await self._outputs.check(plan)
        await self._commit(plan)
        metrics.count(("ignored", word) for word in plan.ignored())
        metrics.BATCH_STAGE.labels("result").observe(monotonic_s() - started_s)
        reach("result.answer")
        return await settle_verdicts(
            self._letters, self._consumer, subjects.STREAM_SYS, messages, plan.verdicts()
        )

    async def check_again(self, records: Sequence[Record], content_max_bytes: int | None) -> None:
        """Check results that are kept with their jobs. Raises Unavailable."""
        rows = [(record, record.get("pending_result", "")) for record in records]
        plan = self._planner.plan_stored_results(rows, int.from_bytes(os.urandom(8), "little"))
        await self._outputs.check(plan, content_max_bytes)
        await self._commit(plan)

    async def _commit(self, plan: ResultPlan) -> None:
        now = now_us()
        groups = plan.commits(now)
        if not groups:
            return
        reach("result.commit")
        replies = await commit(self._jobs, "result_commit", groups, self._side, now)
        effects = plan.apply([reply for group in replies for reply in group], now)
        metrics.count(effects.counts)
        self._side.tenants(effects.tenants)
        self._side.touched(effects.touched, now)
        self._side.released(effects.retrying)
        self._side.dead_letters(effects.dead_letters)
        self._side.results_kept(effects.result_keys)
        self._note_outputs(effects)
        await self._outputs.tell(effects.audits)
        self._on_capacity(effects.capacity)
        reach("result.publish")
        if effects.events:
            failed = await self._submits.publish_events(effects.events, effects.duties, self._publisher)
            reach("result.done")
            self._on_sagas([job_id for job_id in effects.sagas if job_id not in failed])
            await self._end_published(effects, failed)
        self.on_scans([job_id for job_id, _ in effects.scans])
        self.on_withheld(effects.withheld)

    def _note_outputs(self, effects: ResultEffects) -> None:
        if not self._outputs.modes.enabled:
            output_metrics.note_skipped(
                label for name, label in effects.counts if name == "completed:succeeded"
            )
            return
        output_metrics.note(effects.checks)
        self._side.outputs(effects.checks)
        self._side.evidence_kept(effects.evidence)

    async def _end_published(self, effects: ResultEffects, failed: set[str]) -> None:
        """End what is done of jobs whose scan is still to come; sagas end theirs themselves."""
        left = failed | set(effects.sagas)
        done = [(job_id, rev, ("result",)) for job_id, rev in effects.scans if job_id not in left]
        if done:
            await self._jobs.duties_done(done)

    async def _supply_retry_limits(self, plan: ResultPlan) -> None:
        """Look up the retry budget of jobs whose policy and topic set none (scheduler spec §9)."""
        scopes = plan.retry_scopes()
        if scopes:
            configs = await self._configs.many(scopes)
            plan.supply_retry_limits([retry_limit(config.data) for config in configs])


def retry_limit(data: dict[str, Any]) -> int | None:
    """Return `retry.max_retries` of a configuration; None: not set, or no number of retries."""
    retry = data.get("retry")
    limit = retry.get("max_retries") if isinstance(retry, dict) else None
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0 else None
