"""Policies that count: the engine asks, Redis counts, the engine goes on (policy spec §13)."""

import asyncio
from time import perf_counter
from typing import Final

from cordum._core import PolicyEngine, PolicyEvaluation
from cordum.domain.errors import Unavailable
from cordum.kernel.agents import AgentRecord
from cordum.kernel.decisions import SharedRedis
from cordum.kernel.metrics import VELOCITY_CHECKS, VELOCITY_SECONDS
from cordum.runtime.clock import now_us
from cordum.runtime.logs import get_logger
from cordum.store.velocity import VelocityCheck, VelocityCounters

__all__ = ["VelocityGate"]

WITHIN: Final = 0
EXCEEDED: Final = 1
FAILED: Final = 2
FAILED_OPEN: Final = 3
_RESULTS: Final = {WITHIN: "within_limit", EXCEEDED: "exceeded", FAILED: "error", FAILED_OPEN: "skipped"}
_FLUSH_S: Final = 1.0
_OUTAGE_S: Final = 1.0

Need = tuple[int, str, str, str, int, int]

_log = get_logger()


class VelocityGate:
    """Evaluates batches with counts from Redis. Without Redis every count fails: velocity rules then ask a human,
    or are skipped where `VELOCITY_FAIL_MODE=open`."""

    def __init__(self, redis: SharedRedis, *, fail_open: bool) -> None:
        self._redis = redis
        self._failed = FAILED_OPEN if fail_open else FAILED
        self._counters: VelocityCounters | None = None
        self._opening = asyncio.Lock()

    async def evaluate(
        self, engine: PolicyEngine, batch: bytes, *, record: bool, agents: list[AgentRecord] | None = None
    ) -> bytes:
        """Return the serialized `BatchResponse` of a serialized `BatchRequest`.

        ``record`` counts the requests, else counters are only read. Raises ValueError for a batch that does not
        decode.
        """
        evaluation = engine.begin(batch, agents)
        await self.count(evaluation, record=record)
        return evaluation.response()

    async def count(self, evaluation: PolicyEvaluation, *, record: bool) -> None:
        """Give an evaluation the counts it waits for."""
        while needs := evaluation.needs:
            evaluation.answer(await self._answer(needs, record=record))

    @staticmethod
    def fail_all(evaluation: PolicyEvaluation) -> None:
        """End an evaluation that nobody counts for: every count failed."""
        while needs := evaluation.needs:
            evaluation.answer([FAILED] * len(needs))

    async def _answer(self, needs: list[Need], *, record: bool) -> list[int]:
        started_s = perf_counter()
        counters = await self._open()
        checks = [
            VelocityCheck(suffix, member, limit, window) for _, _, suffix, member, limit, window in needs
        ]
        if counters is None:
            counts: list[int | None] = [None] * len(checks)
        else:
            counts = await counters.count(checks, record=record, now_us=now_us())
        elapsed_s = perf_counter() - started_s
        answers = []
        for (_, rule_id, _, _, limit, _), count in zip(needs, counts, strict=True):
            answer = self._failed if count is None else EXCEEDED if count > limit else WITHIN
            answers.append(answer)
            VELOCITY_CHECKS.labels(rule_id, _RESULTS[answer]).inc()
            VELOCITY_SECONDS.labels(rule_id).observe(elapsed_s)
        return answers

    async def _open(self) -> VelocityCounters | None:
        if self._counters is None:
            async with self._opening:
                if self._counters is None:
                    try:
                        async with asyncio.timeout(_OUTAGE_S):
                            self._counters = VelocityCounters(await self._redis.client())
                    except (Unavailable, TimeoutError) as error:
                        _log.error(
                            "velocity counters not reachable", reason=str(error) or "no answer in time"
                        )
        return self._counters

    async def keep_statistics(self) -> None:
        """Write the figures of the stats endpoint every second, best effort."""
        while True:
            await asyncio.sleep(_FLUSH_S)
            if self._counters is None:
                continue
            try:
                await self._counters.flush()
            except (Unavailable, TimeoutError) as error:
                _log.info("velocity statistics not written", reason=str(error) or "no answer in time")
