"""Evidence that dispatched jobs run: heartbeats and progress (scheduler spec §2.4)."""

from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from nats.aio.msg import Msg

from cordum._core import Planner
from cordum.domain.errors import CordumError
from cordum.domain.states import JobState
from cordum.protocol import subjects
from cordum.runtime.clock import now_us
from cordum.scheduler.protocol_alerts import ProtocolAlerts, fault_of, read_packet
from cordum.scheduler.side_writes import SideWrites
from cordum.store.jobs import JobStore

_log = structlog.get_logger("cordum.scheduler")


class Evidence:
    """Moves DISPATCHED jobs to RUNNING. What is lost here, the dispatch time-out decides (rule d)."""

    def __init__(
        self, planner: Planner, jobs: JobStore, side_writes: SideWrites, alerts: ProtocolAlerts
    ) -> None:
        self._planner = planner
        self._jobs = jobs
        self._side = side_writes
        self._alerts = alerts

    async def on_heartbeats(self) -> None:
        """Move all jobs the heartbeats applied so far give evidence for, in one step."""
        now = now_us()
        await self._apply(self._planner.take_running(now), now)

    async def on_progress(self, messages: list[Msg]) -> None:
        """Take progress as evidence that a dispatched job runs."""
        named = [(_job_id(message.data), message.data) for message in messages]
        refused = [(data, fault_of(data)) for job_id, data in named if not job_id]
        await self._alerts.refused(subjects.PROGRESS, refused)
        ids = list(dict.fromkeys(job_id for job_id, _ in named if job_id))
        try:
            rows = await self._jobs.fields(ids, ("state", "topic")) if ids else []
        except CordumError as error:
            _log.warning("progress not taken as evidence", error=error.message)
            return
        now = now_us()
        groups = [
            (
                self._jobs.partition(job_id),
                (self._jobs.pack(self._change(job_id, topic or b"", now)),),
                (job_id,),
            )
            for job_id, (state, topic) in zip(ids, rows, strict=True)
            if state == JobState.DISPATCHED.encode()
        ]
        await self._apply(groups, now)

    def _change(self, job_id: str, topic: bytes, now: int) -> dict[str, Any]:
        return {
            "id": job_id,
            "from": [JobState.DISPATCHED],
            "to": str(JobState.RUNNING),
            "due": now + self._planner.running_timeout_us(topic.decode()),
            "events": [orjson.dumps({"ts": now, "state": "RUNNING"}).decode()],
        }

    async def _apply(self, groups: Sequence[tuple[int, Sequence[bytes], Sequence[str]]], now: int) -> None:
        """Apply packed changes, with the ids of their jobs, per partition."""
        if not groups:
            return
        packed = [(partition, changes) for partition, changes, _ in groups]
        try:
            replies = await self._jobs.apply("job_move", packed, now_us=now)
        except CordumError as error:
            _log.warning("jobs not noted as running", error=error.message)
            return
        self._side.touched(
            (
                (reply[5].decode(), job_id)
                for (_, _, ids), answers in zip(groups, replies, strict=True)
                for job_id, reply in zip(ids, answers, strict=True)
                if reply[0] == b"moved"
            ),
            now,
        )


def _job_id(data: bytes) -> str:
    packet = read_packet(data)
    return str(packet.job_progress.job_id) if packet is not None else ""
