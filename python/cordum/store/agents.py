"""Agent identities `agent:identity:<id>` as far as workers and submissions need them (README decision 49)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from cordum.domain.errors import CordumError
from cordum.store import keys
from cordum.store.connection import RedisClient

__all__ = ["Agent", "load_agents"]

_ACTIVE: Final = frozenset({"", "active"})
_MEMBERS: Final = ("tenant", "status", "owner", "name", "risk_tier")


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's tenant, status and owner (a principal), and what people call it."""

    tenant: str
    status: str = ""
    owner: str = ""
    name: str = ""
    risk_tier: str = ""

    def may_act_for(self, tenant: str) -> bool:
        """Tell whether the agent belongs to ``tenant`` and is neither suspended nor revoked."""
        return self.tenant == tenant and self.status in _ACTIVE


async def load_agents(client: RedisClient, agent_ids: Sequence[str]) -> list[Agent | None]:
    """Return agents in one round trip per node, None for an absent one or a record that is none. Raises Unavailable."""
    if not agent_ids:
        return []
    replies = await client.pipeline([("GET", keys.agent_identity(agent_id)) for agent_id in agent_ids])
    agents: list[Agent | None] = []
    for reply in replies:
        if isinstance(reply, CordumError):
            raise reply
        agents.append(_agent(reply))
    return agents


def _agent(raw: bytes | None) -> Agent | None:
    if raw is None:
        return None
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    tenant, *others = (record.get(name) or "" for name in _MEMBERS)
    if not isinstance(record.get("tenant"), str) or not all(isinstance(other, str) for other in others):
        return None
    return Agent(tenant, *others)
