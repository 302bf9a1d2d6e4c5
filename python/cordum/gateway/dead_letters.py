"""The `sys.job.dlq` consumer: entries and results of jobs that ended badly, where there are none yet (§13)."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError

from cordum.bus.messages import ACK, CORRUPT_RETRY, TERM, InMessage, Verdict, is_poison
from cordum.protocol.cap import BusPacket, JobStatus
from cordum.runtime.clock import now_us, rfc3339
from cordum.runtime.logs import get_logger
from cordum.store.blobs import BlobStore
from cordum.store.dlq import DeadLetterStore
from cordum.store.jobs import JobStore

__all__ = ["DeadLetterEvents"]

_WITHOUT_RESULT: Final = frozenset({6, 9, 11})
"""FAILED, TIMEOUT and FAILED_FATAL: the worker may have left nothing to look at."""

_log = get_logger()


class DeadLetterEvents:
    """Handler of `sys.job.dlq`. What a job's last change or its worker wrote is never replaced."""

    def __init__(self, jobs: JobStore, letters: DeadLetterStore, blobs: BlobStore) -> None:
        self._jobs = jobs
        self._letters = letters
        self._blobs = blobs

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Store what is missing; raises Unavailable when the store does not answer, so that it comes again."""
        verdicts: list[Verdict] = []
        results: dict[str, tuple[Any, InMessage]] = {}
        for message in messages:
            verdict, result = _decoded(message)
            verdicts.append(verdict)
            if result is not None and result.job_id:
                results[result.job_id] = (result, message)
        if results:
            ids = list(results)
            records = await self._jobs.get_many(ids)
            entries = await self._letters.get_many(ids)
            for job_id, record, entry in zip(ids, records, entries, strict=True):
                # A job's own entry is written in one step with its state; if it is gone, somebody removed it.
                if record is None and entry is None:
                    await self._keep(*results[job_id])
            await self._blobs.fill_results(
                {
                    job_id: _stub(*found)
                    for job_id, found in results.items()
                    if found[0].status in _WITHOUT_RESULT
                }
            )
        return verdicts

    async def _keep(self, result: Any, message: InMessage) -> None:
        entry = {
            "job_id": result.job_id,
            "status": JobStatus.Name(result.status),
            "reason": result.error_message,
            "reason_code": result.error_code,
            "created_at": _arrived(message),
        }
        await self._letters.put_poison({k: v for k, v in entry.items() if v}, now_us=now_us())


def _decoded(message: InMessage) -> tuple[Verdict, Any | None]:
    try:
        return ACK, BusPacket.FromString(message.data).job_result
    except DecodeError:
        if is_poison(message, corrupt=True):
            _log.warning("dead-letter event does not decode", stream_seq=message.stream_seq)
            return TERM, None
        return CORRUPT_RETRY, None


def _stub(result: Any, message: InMessage) -> bytes:
    """Return the result of a job that has none (protocol spec §10)."""
    return orjson.dumps(
        {
            "job_id": result.job_id,
            "status": JobStatus.Name(result.status),
            "error": {"message": result.error_message},
            "processed_by": result.worker_id,
            "completed_at": _arrived(message),
        }
    )


def _arrived(message: InMessage) -> str:
    return rfc3339(message.timestamp_us // 1_000_000 * 1_000_000 or None)
