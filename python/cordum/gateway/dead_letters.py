"""Keeps dead letters that exist only as events: messages nobody has a job record for (scheduler spec §13)."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from cordum.bus.messages import ACK, CORRUPT_RETRY, TERM, InMessage, Verdict, is_poison
from cordum.protocol.cap import BusPacket, JobStatus
from cordum.runtime.clock import now_us, rfc3339
from cordum.runtime.logs import get_logger
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore

__all__ = ["DeadLetterEvents"]

_log = get_logger()


class DeadLetterEvents:
    """Handler of `sys.job.dlq`. An entry written with its job's last change is never replaced."""

    def __init__(self, jobs: JobStore, letters: DeadLetterStore) -> None:
        self._jobs = jobs
        self._letters = letters

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Store what is missing; raises Unavailable when the store does not answer, so that it comes again."""
        return [await self._handle(message) for message in messages]

    async def _handle(self, message: InMessage) -> Verdict:
        try:
            result = BusPacket.FromString(message.data).job_result
        except DecodeError:
            if is_poison(message, corrupt=True):
                _log.warning("dead-letter event does not decode", stream_seq=message.stream_seq)
                return TERM
            return CORRUPT_RETRY
        # A job's own entry is written in one step with its state; if it is gone, somebody removed it.
        if not result.job_id or await self._jobs.get(result.job_id) or await self._letters.get(result.job_id):
            return ACK
        entry = {
            "job_id": result.job_id,
            "status": JobStatus.Name(result.status),
            "reason": result.error_message,
            "reason_code": result.error_code,
            "created_at": rfc3339(message.timestamp_us // 1_000_000 * 1_000_000 or None),
        }
        await self._letters.put_poison({k: v for k, v in entry.items() if v}, now_us=now_us())
        return ACK
