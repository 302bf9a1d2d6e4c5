"""Runs a candidate policy over past decisions (policy spec §19.3).

The kernel does this itself: only it holds the verified sources a candidate is merged with, and its engine is
the one that decides. The work happens in threads without the GIL, one replay at a time, from the newest
segment to the oldest.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import orjson

from cordum._core import PolicyEngine, PolicyError, PolicyReplay
from cordum.domain.errors import InvalidInput, LimitExceeded
from cordum.kernel.decisions import SharedRedis
from cordum.kernel.snapshots import PolicyStore
from cordum.protocol.kernel_client import INVALID_CONTENT
from cordum.store.decision_log import DecisionLog, StoredSegment
from cordum.v1 import safety_batch_pb2

__all__ = ["Replays"]

BUDGET_S: Final = 25.0
WAITING_MAX: Final = 4
CHANGES_MAX: Final = 1_000


class Replays:
    """Answers `ReplayDecisions`."""

    def __init__(self, policies: PolicyStore, redis: SharedRedis) -> None:
        self._policies = policies
        self._redis = redis
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def run(self, request: bytes) -> bytes:
        """Replay and return a serialized `ReplayResponse`.

        Raises InvalidInput for a candidate or filter that does not compile, LimitExceeded when too many wait,
        Unavailable without Redis.
        """
        asked = safety_batch_pb2.ReplayRequest.FromString(request)
        if self._waiting >= WAITING_MAX:
            raise LimitExceeded("too many replays are running", retry_after_s=5)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._run(asked)
        finally:
            self._waiting -= 1

    async def _run(self, asked: safety_batch_pb2.ReplayRequest) -> bytes:
        engine = await self._engine(asked)
        spec = {
            "filter": {
                "since_us": asked.since_us,
                "until_us": asked.until_us,
                "topic": asked.topic,
                "decision": asked.original_decision,
                "jobs_only": True,
            },
            "max_jobs": max(0, asked.max_jobs),
            "max_changes": min(CHANGES_MAX, max(0, asked.max_changes)),
        }
        try:
            replay = PolicyReplay(engine, orjson.dumps(spec))
        except ValueError as error:
            raise InvalidInput(str(error), field="filters") from error
        log = DecisionLog(await self._redis.client())
        segments = log.newest_first(asked.tenant, since_us=asked.since_us, until_us=asked.until_us)
        warnings: list[str] = []
        damaged = 0
        try:
            async with asyncio.timeout(BUDGET_S):
                damaged = await _feed(replay, segments)
        except TimeoutError:
            warnings.append("the time limit was reached; older decisions were not replayed")
        if damaged:
            warnings.append(f"{damaged} segments of the decision log could not be read")
        answer: bytes = safety_batch_pb2.ReplayResponse(
            result=await asyncio.to_thread(replay.result),
            policy_snapshot=engine.snapshot,
            warnings=[*warnings, *engine.warnings[:20]],
        ).SerializeToString()
        return answer

    async def _engine(self, asked: safety_batch_pb2.ReplayRequest) -> PolicyEngine:
        if asked.use_current_policy:
            return self._policies.engine
        try:
            return await asyncio.to_thread(
                self._policies.candidate, asked.candidate_bundle_id, asked.candidate_content
            )
        except PolicyError as error:
            raise InvalidInput(f"{INVALID_CONTENT}{str(error)[:4_000]}", code="policy_invalid") from error


async def _feed(replay: PolicyReplay, chunks: AsyncIterator[list[StoredSegment]]) -> int:
    damaged = 0
    async for chunk in chunks:
        damaged += await asyncio.to_thread(replay.add, [segment.data for segment in chunk])
        if replay.is_full:
            break
    return damaged
