"""The `sys.job.dlq` consumer: entries and results of jobs that ended badly, where there are none yet (§13)."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from google.protobuf.message import DecodeError

from cordum.bus.messages import ACK, CORRUPT_RETRY, TERM, InMessage, Verdict, is_poison, poison_entry
from cordum.bus.metrics import POISON
from cordum.protocol import subjects
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

    def __init__(self, jobs: JobStore, letters: DeadLetterStore, blobs: BlobStore, consumer: str) -> None:
        self._consumer = consumer
        self._jobs = jobs
        self._letters = letters
        self._blobs = blobs

    async def handle(self, messages: list[InMessage]) -> Sequence[Verdict]:
        """Store what is missing; raises Unavailable when the store does not answer, so that it comes again."""
        verdicts: list[Verdict] = []
        results: dict[str, tuple[BusPacket, InMessage]] = {}
        for message in messages:
            packet = _decoded(message)
            verdicts.append(ACK if packet is not None else await self._bury(message))
            if packet is not None and packet.job_result.job_id:
                results[packet.job_result.job_id] = (packet, message)
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
                    if found[0].job_result.status in _WITHOUT_RESULT
                }
            )
        return verdicts

    async def _bury(self, message: InMessage) -> Verdict:
        """Dead-letter what does not decode, and end it, once it came too often (protocol spec §8.5)."""
        if not is_poison(message, corrupt=True):
            return CORRUPT_RETRY
        entry = poison_entry(subjects.STREAM_SYS, message, rfc3339())
        await self._letters.put_poison(entry, now_us=now_us())
        POISON.labels(self._consumer).inc()
        _log.error("poison message dead-lettered", consumer=self._consumer, stream_seq=message.stream_seq)
        return TERM

    async def _keep(self, packet: BusPacket, message: InMessage) -> None:
        """Keep the event of a job nobody recorded, for the tenant its packet names."""
        result = packet.job_result
        entry = {
            "job_id": result.job_id,
            "tenant": packet.identity.tenant_id or "default",
            "status": JobStatus.Name(result.status),
            "reason": result.error_message,
            "reason_code": result.error_code,
            "created_at": _arrived(message),
        }
        await self._letters.put_poison({k: v for k, v in entry.items() if v}, now_us=now_us())


def _decoded(message: InMessage) -> Any | None:
    try:
        return BusPacket.FromString(message.data)
    except DecodeError:
        return None


def _stub(packet: BusPacket, message: InMessage) -> bytes:
    """Return the result of a job that has none (protocol spec §10)."""
    result = packet.job_result
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
