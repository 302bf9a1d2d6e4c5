"""Cancels heard on the bus (scheduler spec §12)."""

import asyncio
from typing import Any

import structlog
from nats.aio.msg import Msg

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.domain.states import TERMINAL_STATES, JobState
from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from cordum.scheduler import metrics
from cordum.scheduler.duties import Duties
from cordum.scheduler.moves import transition_event
from cordum.scheduler.protocol_alerts import ProtocolAlerts, fault_of, read_packet
from cordum.scheduler.side_writes import SideWrites
from cordum.store.job_times import taken_ms
from cordum.store.jobs import JobStore, Record

_log = structlog.get_logger("cordum.scheduler")
_TRIES = 3
_WAIT_S = 1.0


class BusEvents:
    """Applies JobCancel packets; repeated ones change nothing."""

    def __init__(
        self,
        planner: Planner,
        jobs: JobStore,
        duties: Duties,
        side_writes: SideWrites,
        alerts: ProtocolAlerts,
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._duties = duties
        self._side = side_writes
        self._alerts = alerts

    async def on_cancel(self, messages: list[Msg]) -> None:
        """Cancel jobs in the store; a store failure is tried again here, because core NATS does not
        redeliver."""
        for message in messages:
            packet = read_packet(message.data)
            if packet is None or not packet.job_cancel.job_id:
                await self._alerts.refused(subjects.CANCEL, [(message.data, fault_of(message.data))])
                continue
            await self._cancel(packet.job_cancel.job_id, packet.job_cancel.reason)

    async def _cancel(self, job_id: str, reason: str) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                record = await self._jobs.get(job_id)
                if record is None:
                    return
                reply = await self._jobs.move(_cancel_change(record, reason), now_us=now_us())
            except CordumError as error:
                _log.warning("cancel not stored", job_id=job_id, attempt=attempt, error=str(error))
                await asyncio.sleep(_WAIT_S)
                continue
            if reply[0] == b"moved":
                self._side.tenants([(reply[5].decode(), job_id, False, False)])
                metrics.COMPLETED.labels(self._planner.metric_topic(reply[4].decode()), "cancelled").inc()
                await self._duties.perform([job_id])
            return
        metrics.CANCEL_FAILURES.inc()


def _cancel_change(record: Record, reason: str) -> dict[str, Any]:
    now = now_us()
    taken = taken_ms(record, now)
    return {
        "id": record["id"],
        "from": [state for state in JobState if state not in TERMINAL_STATES],
        "to": str(JobState.CANCELLED),
        "set": {"failure_reason": reason},
        "after": ["result"],
        "events": [transition_event(now, JobState.CANCELLED, reason=reason, duration_ms=taken)],
    }
