"""Which agent a worker works for: its credential names it (scheduler spec §10 row 6, §19.2)."""

from collections.abc import Mapping
from typing import Final

import structlog

from cordum.domain.errors import CordumError
from cordum.store.agents import load_agents
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.worker_credentials import load_credentials

__all__ = ["WorkerAgents"]

_BATCH: Final = 500

_log = structlog.get_logger("cordum.scheduler")


class WorkerAgents:
    """The agents as last read; the configuration's reload keeps them current."""

    def __init__(self, documents: ConfigDocuments, redis: RedisClient) -> None:
        self._documents = documents
        self._redis = redis
        self.by_worker: Mapping[str, Mapping[str, str]] = {}
        """Worker id to `id`, `name` and `risk_tier`; workers without an agent are not in it."""

    async def refresh(self) -> None:
        """Read them again; when that fails the old ones stay."""
        try:
            self.by_worker = await self._read()
        except CordumError as error:
            _log.warning("agents of workers not read, the old ones stay", error=error.message)

    async def _read(self) -> dict[str, dict[str, str]]:
        credentials = (await load_credentials(self._documents)).by_worker.values()
        linked = [one for one in credentials if one.is_active and one.agent_id]
        found: dict[str, dict[str, str]] = {}
        for start in range(0, len(linked), _BATCH):
            part = linked[start : start + _BATCH]
            agents = await load_agents(self._redis, [credential.agent_id for credential in part])
            for credential, agent in zip(part, agents, strict=True):
                # An agent of another tenant, or one that is gone, is none of this worker's.
                if agent is not None and agent.tenant == credential.tenant_id:
                    found[credential.worker_id] = {
                        "id": credential.agent_id,
                        "name": agent.name,
                        "risk_tier": agent.risk_tier,
                    }
        return found
