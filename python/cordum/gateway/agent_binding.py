"""Whose agent a job names: label `agent_id` is bound to the caller (gateway spec §14.1, policy spec §20.2).

A caller speaks for the agent whose id is its bound principal and for the agents it owns (`owner` of the record). That
`delegation.impersonate` lets it speak for any agent is settled when the body is parsed.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from cordum._core import SubmitBatch
from cordum.runtime.logs import get_logger
from cordum.store import keys
from cordum.store.connection import RedisClient

__all__ = ["prove_agents"]

ID_MAX: Final = 256
"""Longer ids name no agent."""
_REFUSED: Final = orjson.dumps({"error": "access denied", "code": "access_denied", "status": 403})
_UNAVAILABLE: Final = orjson.dumps(
    {"error": "service unavailable", "code": "service_unavailable", "status": 503}
)

_log = get_logger()


async def prove_agents(
    client: RedisClient, batch: SubmitBatch, agents: Sequence[tuple[int, str, str, str]]
) -> None:
    """Answer the items whose caller does not own the agent it names: 403, or 503 where the store did not say.

    ``agents``: (index, tenant, agent id, bound principal). One pipelined read for the batch. Raises Unavailable.
    """
    ids = sorted({agent for _, _, agent, _ in agents if len(agent) <= ID_MAX})
    replies = await client.pipeline([("GET", keys.agent_identity(agent)) for agent in ids])
    stored = dict(zip(ids, replies, strict=True))
    for index, tenant, agent, principal in agents:
        record = stored.get(agent)
        if isinstance(record, Exception):
            _log.error("agent not looked up", agent_id=agent, reason=str(record))
            batch.answer(index, 503, _UNAVAILABLE, "", 2)
        elif not _is_owner(record, tenant, principal):
            batch.answer(index, 403, _REFUSED)


def _is_owner(record: Any, tenant: str, principal: str) -> bool:
    if record is None:
        return False
    try:
        agent = orjson.loads(record)
    except orjson.JSONDecodeError:
        return False
    return isinstance(agent, dict) and (agent.get("tenant"), agent.get("owner")) == (tenant, principal)
