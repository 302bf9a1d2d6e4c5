"""Worker registry of one replica: heartbeats, handshakes, remembered readiness, snapshot (scheduler spec
§18)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime

import orjson
import structlog
from nats.aio.msg import Msg

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.domain.worker_credentials import WorkerCredential
from cordum.licensing import UPGRADE_URL, Entitlements
from cordum.protocol import subjects
from cordum.protocol.cap import Handshake
from cordum.runtime.clock import monotonic_s, now_s, now_us, rfc3339
from cordum.scheduler import metrics
from cordum.scheduler.presence_gate import PresenceGate
from cordum.scheduler.protocol_alerts import Misnamed, Refused, fault_of
from cordum.store.locks import Lock
from cordum.store.worker_snapshot import WorkerSnapshots

_log = structlog.get_logger("cordum.scheduler")
_REMEMBER_EVERY_S = 60.0
_WARN_EVERY_S = 10.0

Capacities = Iterable[tuple[str, str, bool]]


class Registry:
    """Feeds the planner's worker table and shares what it knows."""

    def __init__(
        self,
        planner: Planner,
        snapshots: WorkerSnapshots,
        writer_lock: Lock,
        instance: str,
        on_capacity: Callable[[Capacities, Mapping[str, str]], None],
        gate: PresenceGate,
        limits: Entitlements,
        worker_ttl_s: float,
    ) -> None:
        self._planner = planner
        self._snapshots = snapshots
        self._lock = writer_lock
        self._instance = instance
        self._on_capacity = on_capacity
        self._gate = gate
        self._limits = limits
        self._worker_ttl_s = worker_ttl_s
        self._shown: set[str] = set()
        self._warned_s = float("-inf")
        self._remembered: dict[str, float] = {}
        self.on_gone: Callable[[list[str]], object] = lambda _: None
        """Hears at every look which workers fell silent."""
        self.on_refused: Refused | None = None
        """Hears of packets that are neither heartbeat nor handshake."""
        self.on_misnamed: Misnamed = lambda _packet, _pairs: None
        """Hears of packets whose sender names another worker, where nobody has to prove anything."""
        self._authenticated: set[str] = set()
        self.recall_sessions: Callable[[list[str]], Awaitable[None]] | None = None
        """Hears of workers before they are restored; it may know who of the silent ones lives."""

    async def on_presence(self, messages: list[Msg]) -> None:
        """Handle heartbeat and handshake packets."""
        await self.take([message.data for message in messages])

    async def take(self, packets: list[bytes]) -> None:
        """Apply the packets that the gate admits."""
        if self._gate.is_open:
            found = self._planner.presence(packets, now_us())
        else:
            packets, proofs, informing = await self._gate.admit(packets)
            found = self._planner.presence(packets, now_us(), proofs, informing)
        capacity, beats, shakes, invalid, traces = found
        if invalid and self.on_refused is not None:
            await self.on_refused(
                subjects.HEARTBEAT, [(packets[at], fault_of(packets[at])) for at in invalid]
            )
        self._note_pools({pool for _, pools in beats for pool in pools})
        self._report_refused()
        if (misnamed := self._planner.take_misnamed()) and self._gate.is_open:
            self.on_misnamed("presence", misnamed)
        await self._count([worker_id for worker_id, _ in beats])
        await self._recall([worker_id for worker_id, _ in beats])
        for worker_id, ready_topics, sdk_version in shakes:
            await self._remember(worker_id, ready_topics, sdk_version)
        self._on_capacity(capacity, traces)

    async def authenticated(self, credential: WorkerCredential, capability: Handshake) -> None:
        """Let an authenticated handshake count: its topics, as far as the credential allows them, and no more."""
        capacity, topics = self._planner.authenticate(
            credential.worker_id,
            list(credential.allowed_pools),
            list(credential.allowed_topics),
            list(capability.ready_topics),
            now_us(),
        )
        self._authenticated.add(credential.worker_id)
        await self._remember(credential.worker_id, topics, capability.sdk_version)
        self._on_capacity(capacity, {})

    def _note_pools(self, pools: set[str]) -> None:
        """Show the newest heartbeat of pools in use; the series of a removed or inactive pool ends."""
        for pool in pools:
            if self._planner.is_live_pool(pool):
                self._shown.add(pool)
                metrics.LAST_HEARTBEAT.labels(pool).set(now_s())

    def drop_dead_pools(self) -> None:
        """End the series of pools that are removed or inactive."""
        for pool in [pool for pool in self._shown if not self._planner.is_live_pool(pool)]:
            self._shown.discard(pool)
            metrics.LAST_HEARTBEAT.remove(pool)

    def _report_refused(self) -> None:
        refused = set(self._planner.take_refused())
        now = monotonic_s()
        if refused and now - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now
            _log.warning(
                "workers refused: more than the licence allows",
                worker_ids=sorted(refused)[:20],
                current=self._limits.max_workers,
                allowed=self._limits.max_workers,
                upgrade_url=UPGRADE_URL,
            )

    async def _count(self, worker_ids: list[str]) -> None:
        """Note workers that live, for whoever has to count them."""
        if not worker_ids:
            return
        try:
            await self._snapshots.note_alive(worker_ids, now_s(), self._worker_ttl_s)
        except CordumError as error:
            _log.warning("workers not counted", error=error.message)

    async def _recall(self, worker_ids: list[str]) -> None:
        """Load the topics of workers that announced them to an earlier process; they never announce again
        by themselves."""
        now = monotonic_s()
        unknown = [
            worker_id
            for worker_id in self._planner.lacking_topics(worker_ids)
            if now - self._remembered.get(worker_id, -_REMEMBER_EVERY_S) >= _REMEMBER_EVERY_S
        ]
        if not unknown:
            return
        handshakes = await self._snapshots.handshakes(unknown)
        for worker_id in unknown:
            self._remembered[worker_id] = now
            topics = handshakes.get(worker_id, {}).get("ready_topics")
            if isinstance(topics, list):
                self._planner.remember_topics(worker_id, [str(topic) for topic in topics])

    async def _remember(self, worker_id: str, ready_topics: list[str], sdk_version: str) -> None:
        record: dict[str, object] = {
            "ready_topics": ready_topics,
            "sdk_version": sdk_version,
            "at": rfc3339(),
        }
        if worker_id in self._authenticated:
            record["authenticated"] = True
        try:
            await self._snapshots.save_handshake(worker_id, record)
        except CordumError as error:
            _log.warning("handshake not remembered", worker_id=worker_id, error=str(error))

    async def warm_start(self) -> None:
        """Insert workers of the last snapshot, with their age."""
        snapshot = await self._snapshots.load()
        if snapshot is None:
            return
        try:
            if self.recall_sessions is not None:
                await self.recall_sessions([str(entry["worker_id"]) for entry in snapshot["workers"]])
            captured = datetime.fromisoformat(str(snapshot["captured_at"]))
            elapsed_us = now_us() - int(captured.timestamp() * 1_000_000)
            self._planner.restore_workers(orjson.dumps(snapshot["workers"]), max(0, elapsed_us), now_us())
        except (KeyError, ValueError, TypeError) as error:
            _log.warning("worker snapshot ignored", error=str(error))

    async def keep_snapshot(self, interval_s: float) -> None:
        """Expire silent workers and write the snapshot, one writer at a time."""
        while True:
            gone = self._planner.expire(now_us())
            self.on_gone(gone)
            for worker_id in gone:
                self._remembered.pop(worker_id, None)
                self._authenticated.discard(worker_id)
                _log.info("worker left", worker_id=worker_id)
            if await self._lock.acquire():
                await self._snapshots.save(self.snapshot())
                await self._lock.release()
            await asyncio.sleep(interval_s)

    def snapshot(self) -> dict[str, object]:
        """Return the snapshot document."""
        now = now_us()
        return {
            "captured_at": rfc3339(),
            "writer_id": self._instance,
            **orjson.loads(self._planner.overview(now)),
            "workers": orjson.loads(self._planner.worker_entries(now)),
        }
