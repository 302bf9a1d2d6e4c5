"""Settling dispatches whose publish was never confirmed (scheduler spec §31.3).

Nothing is published again blindly: workers on core NATS would receive every copy. The stream is asked first.
"""

from collections import defaultdict
from typing import Any

import structlog

from cordum._core import Planner, config_scope
from cordum.bus.connection import Bus
from cordum.bus.messages import OutMessage, trace_headers
from cordum.bus.publisher import Publisher
from cordum.bus.stream_lookup import find_message_ids
from cordum.domain.approval_repairs import stored_hash
from cordum.domain.errors import CordumError
from cordum.domain.states import JobState
from cordum.runtime.clock import monotonic_s, now_us
from cordum.scheduler import metrics
from cordum.scheduler.rollback import rollback_change
from cordum.scheduler.side_writes import SideWrites
from cordum.scheduler.submit_pipeline import PUBLISH_WITHIN_S
from cordum.store import keys
from cordum.store.effective_config import EffectiveConfigs
from cordum.store.instances import Instances
from cordum.store.jobs import JobStore, Record
from cordum.store.schedule import overdue

_log = structlog.get_logger("cordum.scheduler")
_AGE_US = 10_000_000
_BATCH = 50
_CLOCK_MARGIN_US = 10_000_000
"""Clocks of schedulers and of the stream differ by less: what a slower clock stored must be found."""
SERVICE = "scheduler"


class Settler:
    """Settles own unconfirmed dispatches and, on the leading replica, those of replicas that are gone."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        instances: Instances,
        bus: Bus,
        publisher: Publisher,
        side_writes: SideWrites,
        configs: EffectiveConfigs,
        instance: str,
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._instances = instances
        self._bus = bus
        self._publisher = publisher
        self._side = side_writes
        self._configs = configs
        self._instance = instance

    async def sweep(self, *, leading: bool) -> int:
        """Settle what is older than 10 s; return how many jobs were settled."""
        if not self._bus.is_connected:
            return 0
        ids = await overdue(self._jobs, keys.job_disp, before_us=now_us() - _AGE_US, limit=_BATCH)
        records = [record for record in await self._jobs.get_many(ids) if record is not None] if ids else []
        mine: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.get("state") != JobState.DISPATCHED:
                await self._jobs.confirm_dispatch([(record["id"], record.get("dispatch_id", ""))])
            elif record.get("dispatched_by") == self._instance or (leading and await self._is_gone(record)):
                mine[record.get("dispatch_subject", "")].append(record)
        for subject, group in mine.items():
            await self._settle(subject, group)
        return sum(map(len, mine.values()))

    async def _is_gone(self, record: Record) -> bool:
        return not await self._instances.is_alive(SERVICE, record.get("dispatched_by", ""))

    async def _settle(self, subject: str, group: list[Record]) -> None:
        since_us = min(int(record.get("dispatched_at", "0")) for record in group) - _CLOCK_MARGIN_US
        wanted = {f"dispatch:{record['dispatch_id']}" for record in group}
        try:
            found = await find_message_ids(self._bus, subject, since_us, wanted)
        except CordumError as error:
            _log.warning("dispatches not settled yet", subject=subject, error=str(error))
            return
        for record in group:
            if f"dispatch:{record['dispatch_id']}" in found:
                self._confirmed(record)
            elif record.get("dispatched_by") == self._instance:
                # Our own publish failed and the stream never stored it.
                await self._take_back(record)
            else:
                await self._publish(record)

    async def _take_back(self, record: Record) -> None:
        metrics.ROLLBACKS.labels(self._planner.metric_topic(record.get("topic", ""))).inc()
        now, failures, rev = now_us(), int(record.get("route_failures", "0")), int(record["rev"])
        change = rollback_change(self._planner, record["id"], record["dispatch_id"], rev, failures, now)
        await self._jobs.move(change, now_us=now)

    async def _publish(self, record: Record) -> None:
        """Publish the dispatch a crashed replica had committed: the same attempt, under the same id.

        It is taken over first: of several replicas that believe to lead, or of one that stood still meanwhile, only
        the one whose change is applied publishes.
        """
        request = await self._jobs.request(record["id"])
        if request is None:
            return
        if _is_altered(record, request):
            # Nobody has it yet: the submit pipeline refuses what was changed after it was judged.
            _log.error("stored request was changed, its dispatch is taken back", job_id=record["id"])
            await self._take_back(record)
            return
        since_s = monotonic_s()
        reply = await self._jobs.move(_taken_over(record, self._instance, now_us()), now_us=now_us())
        if reply[0] != b"moved":
            return
        config = (await self._configs.get(config_scope(request))).for_worker
        dispatch, stored = self._planner.rebuild_dispatch(record, request, config, now_us())
        if stored:
            await self._side.store_configs([(stored, config)])
        subject, payload, message_id, _ = dispatch
        if monotonic_s() - since_s > PUBLISH_WITHIN_S:
            return
        trace = trace_headers(text) if (text := record.get("trace_context")) else None
        outcome = (await self._publisher.publish_burst([OutMessage(subject, payload, message_id, trace)]))[0]
        if outcome.ok:
            _log.info(
                "dispatch of a lost replica published", job_id=record["id"], dispatch_id=record["dispatch_id"]
            )
            self._confirmed(record)

    def _confirmed(self, record: Record) -> None:
        recovered = [record["id"]] if "route_failures" in record else []
        self._side.confirmed([(record["id"], record["dispatch_id"])], recovered)


def _is_altered(record: Record, request: bytes) -> bool:
    """Tell whether the stored request is not the one the job was submitted with."""
    return record.get("req_hash", "") not in {"", stored_hash(request)}


def _taken_over(record: Record, instance: str, now: int) -> dict[str, Any]:
    """Return the change that makes an unconfirmed dispatch ours; the state stays."""
    return {
        "id": record["id"],
        "from": [JobState.DISPATCHED],
        "to": str(JobState.DISPATCHED),
        "rev": int(record["rev"]),
        "dispatch_id": record["dispatch_id"],
        "set": {"dispatched_by": instance},
        "disp": now,
    }
