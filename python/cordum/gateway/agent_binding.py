"""Whose agent a job names: label `agent_id` is bound to the caller (gateway spec §14.1, policy spec §20.2).

A caller speaks for the agent whose id is its bound principal and for the agents it owns (`owner` of the record). That
`delegation.impersonate` lets it speak for any agent is settled when the body is parsed.
"""

from collections.abc import Sequence
from typing import Final

import orjson

from cordum._core import SubmitBatch
from cordum.domain.errors import CordumError
from cordum.runtime.logs import get_logger
from cordum.store.agents import Agent, load_agents
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

    ``agents``: (index, tenant, agent id, bound principal). One pipelined read for the batch.
    """
    ids = sorted({agent for _, _, agent, _ in agents if len(agent) <= ID_MAX})
    known: dict[str, Agent | None] = {}
    try:
        known.update(zip(ids, await load_agents(client, ids), strict=True))
    except CordumError as error:
        _log.error("agents not looked up", reason=error.message)
        for index, *_ in agents:
            batch.answer(index, 503, _UNAVAILABLE, "", 2)
        return
    for index, tenant, agent_id, principal in agents:
        agent = known.get(agent_id)
        if agent is None or (agent.tenant, agent.owner) != (tenant, principal):
            batch.answer(index, 403, _REFUSED)
