"""Routing and time-outs of a scheduler: files at first start, then the stored sections (configuration spec
§5.3)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import orjson
import structlog
from pydantic import ValidationError

from cordum._core import Planner
from cordum.config.files import SchedulerSection, StoredPools, TimeoutsFile, stored_section
from cordum.config.scheduler import SchedulerSettings
from cordum.domain.errors import CordumError
from cordum.licensing import Entitlements
from cordum.runtime.clock import monotonic_s, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.boundary import Boundary
from cordum.scheduler.routing_files import RoutingFiles
from cordum.scheduler.worker_agents import WorkerAgents
from cordum.store.boundary import BoundaryReader
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.topics import seed_topics

M = TypeVar("M")

_log = structlog.get_logger("cordum.scheduler")


class Configuration:
    """Loads the sections and hands them to the planner; a bad stored section keeps the last good one."""

    def __init__(
        self,
        settings: SchedulerSettings,
        planner: Planner,
        redis: RedisClient,
        boundary: Boundary,
        limits: Entitlements,
        files: RoutingFiles,
    ) -> None:
        self._settings = settings
        self._files = files
        self._boundary = boundary
        self._planner = planner
        self._documents = ConfigDocuments(redis)
        self._registry = BoundaryReader(redis, settings.schema_mode, settings.config_reload_s, monotonic_s)
        self._registered = self._registry.current
        self._agents = WorkerAgents(self._documents, redis)
        self._active = b""
        self._limits = limits
        self._pools: StoredPools | None = None
        self._scheduler = SchedulerSection()
        self.timeouts = TimeoutsFile()
        self.changed = asyncio.Event()
        self.on_routing: list[Callable[[], None]] = []
        """Called after the routing table has changed."""

    async def start(self) -> None:
        """Bootstrap the stored sections from the files where nothing is stored, then load those. Raises Unavailable, or
        CordumError for a document that is none."""
        sections = self._files.sections()
        defaults = {"safety": {"enabled": True, "mode": "enforce"}, "rate_limits": {"enabled": True}}
        drifted = await self._documents.bootstrap(
            sections, self._files.hashes(), defaults, updated_at=rfc3339()
        )
        for name in sections:
            metrics.CONFIG_DRIFT.labels(name).set(float(name in drifted))
        self._files.tell_drift(await self.reload(), drifted)

    async def reload(self) -> dict[str, Any]:
        """Load the stored sections, and return them as they are; invalid ones are reported and ignored."""
        document = await self._documents.get("system", "default")
        data: dict[str, Any] = dict(document.data) if document else {}
        self._pools = self._section(data, "pools", StoredPools, self._pools)
        self.timeouts = self._section(data, "timeouts", TimeoutsFile, self.timeouts)
        self._scheduler = self._section(data, "scheduler", SchedulerSection, self._scheduler)
        if self._pools is None:
            return data
        self._boundary.read(data.get("boundary"))
        await self._seed(self._pools)
        registered = await self._registry.refresh()
        await self._agents.refresh()
        encoded = self._encode(self._pools)
        if encoded != self._active or registered is not self._registered:
            self._planner.configure(encoded, registered)
            self._active, self._registered = encoded, registered
            metrics.show_topics(self._pools.topics)
            for listener in self.on_routing:
                listener()
            if undeclared := self._pools.undeclared:
                _log.warning("pools that only topics name offer no capability", pools=undeclared[:20])
            _log.info("routing loaded", topics=len(self._pools.topics), pools=len(self._pools.pools))
        return data

    async def _seed(self, pools: StoredPools) -> None:
        """Register the routed topics where nothing was ever registered (scheduler spec §19.5)."""
        try:
            if await seed_topics(self._documents, pools.topics, updated_at=rfc3339()):
                _log.info("topic registry seeded from the pools section")
        except CordumError as error:
            _log.warning("topic registry not seeded", error=error.message)

    def _section(self, data: dict[str, Any], name: str, model: type[M], last: M) -> M:
        """Return a stored section, or the last good one when it is invalid."""
        try:
            section = stored_section(cast("type[Any]", model), data.get(name))
        except ValidationError as error:
            _log.warning(
                "stored section is invalid, the last good one stays",
                section=name,
                faults=[
                    f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5]
                ],
            )
            metrics.CONFIG_INVALID.labels(name).set(1)
            return last
        metrics.CONFIG_INVALID.labels(name).set(0)
        return cast("M", section)

    def _encode(self, pools: StoredPools) -> bytes:
        return orjson.dumps(
            {
                "topics": pools.topics,
                "pools": {n: {"requires": p.requires, "status": p.status} for n, p in pools.pools.items()},
                "timeouts": {
                    **self.timeouts.reconciler.model_dump(),
                    "topics": {name: topic.model_dump() for name, topic in self.timeouts.topics.items()},
                },
                "readiness_required": self._boundary.readiness_required,
                "readiness_ttl_s": self._boundary.readiness_ttl_s,
                "limits_apply": self._boundary.limits_apply,
                "attestation_enforced": self._boundary.needs_proof,
                "session_authority": self._boundary.sessions_decide,
                "worker_ttl_s": self._settings.worker_ttl_s,
                "tenant_weights": self._scheduler.tenant_weights,
                "max_concurrent_jobs": self._limits.max_concurrent_jobs,
                "max_workers": self._limits.max_workers,
                "agents": self._agents.by_worker,
            }
        )

    async def keep_current(self) -> None:
        """Reload on notice and on every poll interval; a deleted document is bootstrapped again, from what was last
        readable of the files."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.config_reload_s):
                    await self.changed.wait()
            self.changed.clear()
            self._files.read_again()
            try:
                await self.start()
            except CordumError as error:
                _log.warning("configuration not reloaded", error=error.message)

    @property
    def scan_interval_s(self) -> float:
        """Seconds between reconciler ticks."""
        return float(self.timeouts.reconciler.scan_interval_seconds or 30)

    @property
    def dispatch_timeout_s(self) -> int:
        """Seconds a dispatch may stay without evidence of running."""
        return self.timeouts.reconciler.dispatch_timeout_seconds or 300

    @property
    def scheduled_timeout_s(self) -> int:
        """Seconds an admitted job may lie about before it is fed again."""
        return self.timeouts.reconciler.scheduled_timeout_seconds or 60

    @property
    def retrying_timeout_s(self) -> int:
        """Seconds a workflow's job waits for its engine to try again."""
        return self.timeouts.reconciler.retrying_timeout_seconds or 900
