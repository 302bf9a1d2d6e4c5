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
from cordum.config.files import (
    PoolsFile,
    SchedulerSection,
    StoredPools,
    TimeoutsFile,
    load_file,
    section_hash,
    stored_section,
)
from cordum.config.scheduler import SchedulerSettings
from cordum.domain.errors import ConfigError, CordumError
from cordum.licensing import Entitlements
from cordum.runtime.clock import monotonic_s, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.boundary import Boundary
from cordum.scheduler.worker_agents import WorkerAgents
from cordum.store.boundary import BoundaryReader
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from cordum.store.topics import seed_topics

M = TypeVar("M")

_log = structlog.get_logger("cordum.scheduler")


def read_files(settings: SchedulerSettings, *, production: bool) -> tuple[PoolsFile, TimeoutsFile]:
    """Read both files. Raises ConfigError: the pools file is mandatory, the time-outs file in production when named."""
    pools = load_file(settings.pools_path, PoolsFile)
    try:
        timeouts = load_file(settings.timeouts_path, TimeoutsFile)
    except ConfigError as error:
        if production and "timeouts_path" in settings.model_fields_set:
            raise
        _log.warning("time-outs file not used, defaults apply", error=error.message)
        timeouts = TimeoutsFile()
    return pools, timeouts


class Configuration:
    """Loads the sections and hands them to the planner; a bad stored section keeps the last good one."""

    def __init__(
        self,
        settings: SchedulerSettings,
        planner: Planner,
        redis: RedisClient,
        boundary: Boundary,
        limits: Entitlements,
        *,
        production: bool,
    ) -> None:
        self._settings = settings
        self._boundary = boundary
        self._planner = planner
        self._documents = ConfigDocuments(redis)
        self._registry = BoundaryReader(redis, settings.schema_mode, settings.config_reload_s, monotonic_s)
        self._registered = self._registry.current
        self._agents = WorkerAgents(self._documents, redis)
        self._production = production
        self._active = b""
        self._limits = limits
        self._pools: StoredPools | None = None
        self._scheduler = SchedulerSection()
        self.timeouts = TimeoutsFile()
        self.changed = asyncio.Event()
        self.on_routing: list[Callable[[], None]] = []
        """Called after the routing table has changed."""

    async def start(self) -> None:
        """Bootstrap the stored sections from the files where nothing is stored, then load them. Raises
        ConfigError, Unavailable."""
        pools, timeouts = read_files(self._settings, production=self._production)
        sections = {
            "pools": pools.model_dump(mode="json", exclude_defaults=True),
            "timeouts": timeouts.model_dump(mode="json"),
        }
        hashes = {name: section_hash(section) for name, section in sections.items()}
        defaults = {"safety": {"enabled": True, "mode": "enforce"}, "rate_limits": {"enabled": True}}
        drifted = await self._documents.bootstrap(sections, hashes, defaults, updated_at=rfc3339())
        for name in sections:
            metrics.CONFIG_DRIFT.labels(name).set(float(name in drifted))
        if drifted:
            _log.warning(
                "config file differs from stored section; "
                "delete cfg:system:default or apply the file to load it",
                sections=sorted(drifted),
            )
        await self.reload()

    async def reload(self) -> None:
        """Load the stored sections; invalid ones are reported and ignored."""
        document = await self._documents.get("system", "default")
        data: dict[str, Any] = dict(document.data) if document else {}
        self._pools = self._section(data, "pools", StoredPools, self._pools)
        self.timeouts = self._section(data, "timeouts", TimeoutsFile, self.timeouts)
        self._scheduler = self._section(data, "scheduler", SchedulerSection, self._scheduler)
        if self._pools is None:
            return
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
        """Reload on notice and on every poll interval; a deleted document is bootstrapped again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.config_reload_s):
                    await self.changed.wait()
            self.changed.clear()
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
