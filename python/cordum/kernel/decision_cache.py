"""Decisions kept for a while, for single calls (policy spec §12). Off unless `SAFETY_DECISION_CACHE_TTL` is set.

Batches are not cached: the engine decides in about a microsecond, a look-up takes longer than that.
"""

from hashlib import sha256
from typing import Final

from cachetools import TTLCache

from cordum._core import PolicyEngine
from cordum.kernel.agents import AgentRecord
from cordum.kernel.metrics import CACHE_LOOKUPS
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse

__all__ = ["DecisionCache"]

_DESCRIPTOR: Final = "_action.descriptor_json"


class DecisionCache:
    """Least recently used first out, O(1); answers of one engine only."""

    def __init__(self, ttl_s: float, size: int) -> None:
        self._entries: TTLCache[bytes, bytes] = TTLCache(size, ttl_s)
        self._engine: PolicyEngine | None = None

    def key(
        self, engine: PolicyEngine, request: PolicyCheckRequest, agents: list[AgentRecord] | None
    ) -> bytes | None:
        """Return the key of a request; None when its decision must not be kept."""
        if engine.has_velocity or _DESCRIPTOR in request.labels:
            return None
        facts = PolicyCheckRequest()
        facts.CopyFrom(request)
        # Rules of the job tier are chosen by the id.
        if not engine.reads_job_ids:
            facts.ClearField("job_id")
        digest = sha256(facts.SerializeToString(deterministic=True))
        digest.update(repr(agents).encode())
        return engine.snapshot.encode() + b":" + digest.digest()

    def get(self, engine: PolicyEngine, key: bytes, job_id: str) -> bytes | None:
        """Return the kept response, about this job."""
        if engine is not self._engine:
            self._entries.clear()
            self._engine = engine
        found = self._entries.get(key)
        CACHE_LOOKUPS.labels("miss" if found is None else "hit").inc()
        if found is None:
            return None
        response = PolicyCheckResponse.FromString(found)
        if not response.approval_required or response.approval_ref == job_id:
            return found
        response.approval_ref = job_id
        return response.SerializeToString()

    def put(self, engine: PolicyEngine, key: bytes, response: bytes) -> None:
        """Keep a response, unless the policy was swapped meanwhile."""
        if engine is self._engine:
            self._entries[key] = response
