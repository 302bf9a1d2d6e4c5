"""Checks of what workers return: pointers become content, content becomes decisions (output policy spec §6, §10)."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from cordum._core import PolicyEngine, check_outputs, output_artifacts, output_pointers, scan_output
from cordum.domain.errors import CordumError, Unavailable
from cordum.kernel.artifacts import Read, ends_of, read_artifacts
from cordum.kernel.decisions import SharedRedis
from cordum.kernel.metrics import OUTPUT_SECONDS
from cordum.runtime.logs import get_logger
from cordum.store import keys
from cordum.store.blobs import is_of_tenant, pointed_key
from cordum.v1.safety_batch_pb2 import BatchItem, BatchRequest, BatchResponse

__all__ = ["OutputChecks", "build_detectors"]

THREAD_FROM_BYTES: Final = 64 * 1024
"""More content is scanned in a thread, so that it does not hold up other calls."""
_READ_TIMEOUT_S: Final = 2.0
# Contents held at once: 4 x 16 MiB by default.
_READS_AT_ONCE: Final = 4
_NOT_FOUND: Final = 5
_FAILED_PRECONDITION: Final = 9
_DEADLINE_EXCEEDED: Final = 4
_UNAVAILABLE: Final = 14


_log = get_logger()


async def build_detectors() -> None:
    """Have the tables of the detectors built, which the first scan would else wait for."""
    await asyncio.to_thread(scan_output, b"first")


class OutputChecks:
    """Answers `CheckOutput` and `CheckOutputBatch`. ``max_scan_bytes`` bounds what is read of one result."""

    def __init__(self, redis: SharedRedis, max_scan_bytes: int) -> None:
        self._redis = redis
        self._max_scan_bytes = max_scan_bytes
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    async def batch(self, engine: PolicyEngine, batch: bytes) -> bytes:
        """Return the serialized `BatchResponse` of a serialized `BatchRequest`. Raises ValueError."""
        pointers, artifacts = output_pointers(engine, batch), output_artifacts(engine, batch)
        if not pointers and not artifacts:
            answer = await _checked(engine, batch, [], [])
        else:
            # One after another: what is read stays in memory until the answer is made.
            async with self._reading:
                read = [await self._read(*pointer) for pointer in pointers]
                answer = await _checked(
                    engine, batch, read, await read_artifacts(self._redis, artifacts, self._max_scan_bytes)
                )
        for item in BatchResponse.FromString(answer).items:
            OUTPUT_SECONDS.observe(item.eval_us / 1e6)
        return answer

    async def one(self, engine: PolicyEngine, request: bytes) -> BatchItem:
        """Check one serialized `OutputCheckRequest`."""
        batch = BatchRequest(requests=[request]).SerializeToString()
        return BatchResponse.FromString(await self.batch(engine, batch)).items[0]

    async def _read(self, index: int, job_id: str, tenant: str, pointer: str) -> Read:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                key = pointed_key(pointer, job_id)
                if key is None or not await self._is_of_tenant(key, tenant):
                    return index, None, _FAILED_PRECONDITION, "invalid pointer"
                content = await self._content(key)
        except Unavailable as error:
            _log.warning("output content not read", job_id=job_id, error=error.message)
            return index, None, _UNAVAILABLE, "output content could not be read"
        except TimeoutError:
            return index, None, _DEADLINE_EXCEEDED, "output content was not read in time"
        except CordumError as error:
            return index, None, _FAILED_PRECONDITION, error.message
        if content is None:
            return index, None, _NOT_FOUND, "output content missing"
        return index, content, 0, ""

    async def _is_of_tenant(self, key: str, tenant: str) -> bool:
        """Tell whether an artifact is the tenant's; results of the job itself are."""
        if not key.startswith("art:"):
            return True
        text = await (await self._redis.client()).execute("GET", keys.artifact_meta(key.removeprefix("art:")))
        return is_of_tenant(text, tenant)

    async def _content(self, key: str) -> tuple[bytes, bytes, int] | None:
        client = await self._redis.client()
        size = int(await client.execute("STRLEN", key))
        if size == 0:
            return None
        if size <= self._max_scan_bytes:
            whole: bytes = await client.execute("GETRANGE", key, 0, size - 1)
            return (whole, b"", len(whole)) if whole else None
        ends = ends_of(size, self._max_scan_bytes)
        head, tail = _raised(await client.pipeline([("GETRANGE", key, *end) for end in ends]))
        return head, tail, size


def _raised(replies: Sequence[Any]) -> Sequence[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def _checked(engine: PolicyEngine, batch: bytes, read: list[Read], artifacts: list[Read]) -> bytes:
    size = len(batch) + sum(len(content[0]) for _, content, _, _ in [*read, *artifacts] if content)
    if size > THREAD_FROM_BYTES:
        return await asyncio.to_thread(check_outputs, engine, batch, read, artifacts)
    return check_outputs(engine, batch, read, artifacts)
