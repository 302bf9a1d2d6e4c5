"""The scheduler's safety client: asks the kernel about a batch, or leaves its jobs waiting (policy spec §15)."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from cordum._core import SubmitPlan
from cordum.domain.errors import CordumError, Unavailable
from cordum.protocol.kernel_client import KernelCallFailed, PolicyClient
from cordum.scheduler import metrics
from cordum.scheduler.fail_mode import FailModes
from cordum.scheduler.kernel_watch import KernelWatch
from cordum.scheduler.trail import Trail
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.breaker import CircuitBreaker
from cordum.store.connection import RedisClient
from cordum.v1.safety_batch_pb2 import BatchResponse

_log = structlog.get_logger("cordum.scheduler")
_CALL_TIMEOUT_S: Final = 2.0
_AROUND_S: Final = 3.0
_CONTENT_MAX_BYTES: Final = 2 * 1024 * 1024
# Payloads held at once: 32 x 2 MiB per batch in flight.
_CONTENT_AT_ONCE: Final = 32
_TOPICS_MAX: Final = 10_000


class SafetyClient:
    """Judges submit plans. Nothing here raises for the kernel or for payloads: those jobs wait."""

    def __init__(
        self,
        kernel: PolicyClient,
        breaker: CircuitBreaker,
        blobs: BlobStore,
        fail_modes: FailModes,
        redis: RedisClient,
        trail: Trail,
    ) -> None:
        self._kernel = kernel
        self._breaker = breaker
        self._blobs = blobs
        self._fail_modes = fail_modes
        self._redis = redis
        self._trail = trail
        self._topics: set[str] = set()
        self.watch = KernelWatch(kernel, breaker, "input")
        """Has to run for ever."""
        self.snapshot = ""
        """Policy snapshot of the newest answer, empty before the first."""
        self.stopping = False
        """Set at shutdown: from then on no job is admitted without an answer."""

    async def judge(self, plan: SubmitPlan) -> None:
        """Give every job of a plan a judgement. One batch is one attempt of the circuit breaker."""
        if plan.claims_approval():
            # An approval counts under the policy in force only. Without an answer the last one known stands.
            await self.check(())
        await self._trail.approvals(plan.judge_approved(self.snapshot))
        if not plan.is_undecided():
            return
        if not await self._ask(plan) and not self.stopping:
            await self._bypass(plan)

    async def _ask(self, plan: SubmitPlan) -> bool:
        """Ask within the bounds of one attempt; tell whether all went well."""
        grant = await self._breaker.admit()
        if grant is None:
            plan.give_up("safety kernel circuit open", True)
            return False
        succeeded: bool | None = False
        try:
            async with asyncio.timeout(_AROUND_S):
                succeeded = await self._rounds(plan)
        except KernelCallFailed as error:
            # A call refused for its content must not open the way for what it carried.
            plan.give_up(error.message, error.is_failure)
            succeeded = False if error.is_failure else None
            self.watch.note(error)
            _log.warning("no policy answer, jobs wait", error=error.message)
        except TimeoutError:
            plan.give_up("safety kernel did not answer in time", True)
            _log.warning("no policy answer in time, jobs wait")
        except CordumError as error:
            plan.give_up("the payload could not be read", False)
            succeeded = None
            _log.warning("payloads not read, jobs wait", error=error.message)
        await self._breaker.report(grant, succeeded)
        return succeeded is True

    async def _rounds(self, plan: SubmitPlan) -> bool:
        """Ask until no job is undecided; each round decides some or learns that their payloads are needed."""
        plan.expect_content(self._topics)
        while True:
            await self._read_content(plan)
            requests = plan.policy_requests()
            if not requests:
                return True
            well = await self._round(plan, requests)
            self._remember(plan)
            if not well:
                plan.give_up("safety kernel gave no decision", True)
                return False

    async def _round(self, plan: SubmitPlan, requests: Sequence[bytes]) -> bool:
        answers: list[bytes | None] = []
        failure: KernelCallFailed | None = None
        for request in requests:
            if failure is None:
                try:
                    answer = await self._kernel.evaluate_encoded(request, _CALL_TIMEOUT_S)
                    answers.append(answer)
                    self._trail.decisions(request, answer)
                    continue
                except KernelCallFailed as error:
                    if not error.is_failure:
                        raise
                    failure = error
            answers.append(None)
        # What was answered before the failure counts.
        well = plan.decide(answers, failure.message if failure else "")
        if failure is not None:
            raise failure
        return well

    async def _read_content(self, plan: SubmitPlan) -> None:
        wanted = plan.content_keys()[:_CONTENT_AT_ONCE]
        if wanted:
            payloads = await self._blobs.heads([key for _, key in wanted], _CONTENT_MAX_BYTES)
            plan.supply_content([(index, found) for (index, _), found in zip(wanted, payloads, strict=True)])

    def _remember(self, plan: SubmitPlan) -> None:
        """Keep per snapshot which topics need their payload, so that the next batch sends it at once."""
        self._note_snapshot(plan.snapshot)
        if len(self._topics) < _TOPICS_MAX:
            self._topics.update(plan.content_topics())

    def _note_snapshot(self, snapshot: str) -> None:
        if snapshot and snapshot != self.snapshot:
            self.snapshot = snapshot
            self._topics.clear()

    async def check(self, requests: Sequence[bytes]) -> BatchResponse | None:
        """Ask about serialized requests outside a plan; None: no answer. Without requests it tells the snapshot."""
        grant = await self._breaker.admit()
        if grant is None:
            return None
        succeeded: bool | None = True
        answer = None
        try:
            answer = BatchResponse.FromString(await self._kernel.evaluate_batch(requests, _CALL_TIMEOUT_S))
        except KernelCallFailed as error:
            succeeded = False if error.is_failure else None
            self.watch.note(error)
            _log.warning("no policy answer", error=error.message)
        except DecodeError:
            succeeded = False
            _log.warning("the safety kernel gave an undecodable answer")
        await self._breaker.report(grant, succeeded)
        if answer is None or len(answer.items) != len(requests):
            return None
        self._note_snapshot(answer.policy_snapshot)
        return answer

    async def _bypass(self, plan: SubmitPlan) -> None:
        tenants = plan.bypassable()
        admitted = await self._fail_modes.open_tenants(tenants) if tenants else {}
        if admitted and not self.stopping:
            plan.bypass(list(admitted))

    async def note_bypassed(self, jobs: Sequence[tuple[str, str, str, str]]) -> None:
        """Count and report committed jobs without an answer: (job id, tenant, topic label, reason)."""
        if not jobs:
            return
        origins = await self._fail_modes.open_tenants({tenant for _, tenant, _, _ in jobs})
        for job_id, tenant, topic, reason in jobs:
            metrics.INPUT_FAIL_OPEN.labels(topic).inc()
            metrics.SCHEDULER_INPUT_FAIL_OPEN.labels(topic).inc()
            origin = origins.get(tenant, "global_default")
            await self._trail.bypassed(job_id, tenant, topic, reason, origin)
        try:
            await self._redis.execute("INCRBY", keys.INPUT_FAIL_OPEN, len(jobs))
        except Unavailable as error:
            _log.warning("bypassed jobs not counted in Redis", error=error.message)
