"""Agents behind requests, as policy sees them (policy spec §20.2)."""

from time import monotonic
from typing import Any, Final

import orjson
from cachetools import TLRUCache

from cordum._core import named_agents
from cordum.domain.errors import CordumError, Unavailable
from cordum.kernel.decisions import SharedRedis
from cordum.runtime.logs import get_logger
from cordum.store import keys

__all__ = ["AgentDirectory", "AgentRecord"]

KNOWN_S: Final = 30.0
ABSENT_S: Final = 5.0
CACHED_MAX: Final = 10_000
ID_MAX: Final = 256
"""Longer ids name no agent; none can be created."""
_OUTAGE_S: Final = 1.0
"""How long a store that did not answer is not asked again."""
_LABEL: Final = b"agent_id"

Facts = tuple[str, str, str, list[str]]
AgentRecord = tuple[str, Facts | None]
"""An id and what is known of the agent; None when there is no such agent."""

_log = get_logger()


class AgentDirectory:
    """Looks agents up in `agent:identity:<id>`, caches what it found for 30 s and what is absent for 5 s."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis
        self._cache: TLRUCache[str, Facts | None] = TLRUCache(
            CACHED_MAX,
            ttu=lambda _, facts, now: now + (ABSENT_S if facts is None else KNOWN_S),
            timer=monotonic,
        )
        self._down_until_s = 0.0

    async def look_up(self, batch: bytes) -> list[AgentRecord]:
        """Return the agents that a serialized `BatchRequest` names; those that could not be looked up are missing,
        and their requests then have no decision.

        Raises ValueError for a batch that does not decode.
        """
        if _LABEL not in batch:
            return []
        ids = named_agents(batch)
        found: list[AgentRecord] = []
        unknown: list[str] = []
        for agent_id in ids:
            if len(agent_id) > ID_MAX:
                found.append((agent_id, None))
                continue
            try:
                found.append((agent_id, self._cache[agent_id]))
            except KeyError:
                unknown.append(agent_id)
        if unknown:
            found += await self._read(unknown)
        return found

    async def _read(self, ids: list[str]) -> list[AgentRecord]:
        if monotonic() < self._down_until_s:
            return []
        try:
            client = await self._redis.client()
            replies = await client.pipeline([("GET", keys.agent_identity(agent_id)) for agent_id in ids])
        except Unavailable as error:
            self._note_outage(error.message)
            return []
        found: list[AgentRecord] = []
        for agent_id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, Exception):
                self._note_outage(str(reply))
                continue
            try:
                facts = _facts(reply)
            except CordumError as error:
                _log.error("agent record not readable", agent_id=agent_id, reason=error.message)
                continue
            self._cache[agent_id] = facts
            found.append((agent_id, facts))
        return found

    def _note_outage(self, reason: str) -> None:
        self._down_until_s = monotonic() + _OUTAGE_S
        _log.error("agents not looked up", reason=reason)


def _facts(stored: bytes | None) -> Facts | None:
    """Return (tenant, status, risk tier, data classifications); None for no such agent.

    Raises CordumError for a record that is not one: it may be of an agent that rules refuse.
    """
    if stored is None:
        return None
    try:
        record: Any = orjson.loads(stored)
        texts = [record.get(name) or "" for name in ("tenant", "status", "risk_tier")]
        classes = record.get("data_classifications") or []
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise CordumError("expected a JSON object") from error
    if not isinstance(classes, list) or not all(isinstance(text, str) for text in [*texts, *classes]):
        raise CordumError("expected texts in tenant, status, risk_tier, data_classifications")
    return texts[0], texts[1], texts[2], classes
