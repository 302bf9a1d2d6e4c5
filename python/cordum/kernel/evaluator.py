"""One request or a batch → decisions: agents are looked up and counters asked where the policy needs them
(policy spec §6.1, §13, §20.2)."""

import asyncio
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError

from cordum._core import PolicyEngine
from cordum.domain.errors import Unavailable
from cordum.kernel.agents import AgentDirectory, AgentRecord
from cordum.kernel.decision_cache import DecisionCache
from cordum.kernel.velocity import VelocityGate
from cordum.protocol.cap import PolicyCheckRequest
from cordum.v1 import safety_batch_pb2

__all__ = ["Evaluator"]

THREAD_FROM_BYTES: Final = 256 * 1024
"""Longer requests are evaluated in a thread, so that they do not hold up others."""
_UNAVAILABLE: Final = 14


class Evaluator:
    """Without a velocity gate every count fails; without agents every agent is unknown."""

    def __init__(
        self,
        velocity: VelocityGate | None = None,
        agents: AgentDirectory | None = None,
        cache: DecisionCache | None = None,
    ) -> None:
        self._velocity = velocity
        self._agents = agents
        self._cache = cache

    async def batch(self, engine: PolicyEngine, batch: bytes, *, record: bool) -> bytes:
        """Return the serialized `BatchResponse` of a serialized `BatchRequest`; ``record`` counts the requests.

        Raises ValueError for a batch that does not decode.
        """
        agents = await self._look_up(batch)
        if engine.has_velocity and self._velocity is not None:
            return await self._velocity.evaluate(engine, batch, record=record, agents=agents)
        return await _run(lambda encoded: engine.evaluate_batch(encoded, agents), batch)

    async def one(self, engine: PolicyEngine, request: bytes, *, record: bool) -> bytes:
        """Return the serialized `PolicyCheckResponse` of one request.

        Raises ValueError for a request that does not decode, Unavailable when its agent could not be looked up.
        """
        if record and self._cache is not None:
            return await self._cached(self._cache, engine, request)
        return await self._fresh(engine, request, record=record)

    async def _cached(self, cache: DecisionCache, engine: PolicyEngine, request: bytes) -> bytes:
        try:
            asked = PolicyCheckRequest.FromString(request)
        except DecodeError as error:
            raise ValueError(str(error)) from error
        batch = safety_batch_pb2.BatchRequest(requests=[request]).SerializeToString()
        key = cache.key(engine, asked, await self._look_up(batch))
        if key is None:
            return await self._fresh(engine, request, record=True)
        kept = cache.get(engine, key, asked.job_id)
        if kept is not None:
            return kept
        response = await self._fresh(engine, request, record=True)
        cache.put(engine, key, response)
        return response

    async def _fresh(self, engine: PolicyEngine, request: bytes, *, record: bool) -> bytes:
        counts = engine.has_velocity and self._velocity is not None
        if not counts and (self._agents is None or b"agent_id" not in request):
            return await _run(engine.evaluate, request)
        batch = safety_batch_pb2.BatchRequest(requests=[request]).SerializeToString()
        answer = safety_batch_pb2.BatchResponse.FromString(await self.batch(engine, batch, record=record))
        return _decided(answer.items[0])

    async def explain(self, engine: PolicyEngine, request: bytes) -> tuple[bytes, bytes]:
        """Return the serialized response and, as JSON, why; nothing is counted. Raises as `one`."""
        batch = safety_batch_pb2.BatchRequest(requests=[request]).SerializeToString()
        agents = await self._look_up(batch)
        evaluation = engine.begin(batch, agents)
        if self._velocity is not None:
            await self._velocity.count(evaluation, record=False)
        else:
            VelocityGate.fail_all(evaluation)
        answer = safety_batch_pb2.BatchResponse.FromString(evaluation.response())
        return _decided(answer.items[0]), evaluation.explain()

    async def _look_up(self, batch: bytes) -> list[AgentRecord] | None:
        return await self._agents.look_up(batch) if self._agents is not None else None


def _decided(item: safety_batch_pb2.BatchItem) -> bytes:
    if item.code == _UNAVAILABLE:
        raise Unavailable(item.error)
    if item.code:
        raise ValueError(item.error)
    return item.response


async def _run(call: Callable[[bytes], bytes], request: bytes) -> bytes:
    if len(request) > THREAD_FROM_BYTES:
        return await asyncio.to_thread(call, request)
    return call(request)
