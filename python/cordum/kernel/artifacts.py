"""Artifacts of results, read for rules that look at them (output policy spec §4.3)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cordum.domain.errors import InvalidInput, Unavailable
from cordum.kernel.decisions import SharedRedis
from cordum.runtime.logs import get_logger
from cordum.store import keys
from cordum.store.blobs import is_of_tenant, key_of_pointer
from cordum.store.scripts import Command

__all__ = ["Pointer", "Read", "ends_of", "read_artifacts"]

TAIL_BYTES: Final = 1024 * 1024
_READ_TIMEOUT_S: Final = 2.0
# Bytes of one call, as a multiple of what is read of one result.
_RESULTS_PER_CALL: Final = 4
# What is looked at of an artifact after others took what may be read.
_LEAST_BYTES: Final = 4096
_PREFIX: Final = "art:"
_DEADLINE_EXCEEDED: Final = 4
_NOT_FOUND: Final = 5
_FAILED_PRECONDITION: Final = 9
_ABORTED: Final = 10
_UNAVAILABLE: Final = 14

Pointer = tuple[int, str, str, str]
"""Index, job id, tenant, pointer."""
Read = tuple[int, tuple[bytes, bytes, int] | None, int, str]
"""Index, content (start, end, bytes stored), gRPC status number, error."""

_log = get_logger()


async def read_artifacts(redis: SharedRedis, pointers: Sequence[Pointer], max_bytes: int) -> list[Read]:
    """Read the artifacts of the results of one call, in two round trips per node; of one result at most ``max_bytes``.

    What could not be read says why. Results for which the call has no room are to be asked about again.
    """
    if not pointers:
        return []
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            return await _read(redis, pointers, max_bytes)
    except Unavailable as error:
        _log.warning("artifacts not read", artifacts=len(pointers), error=error.message)
        return [(index, None, _UNAVAILABLE, "artifact could not be read") for index, *_ in pointers]
    except TimeoutError:
        return [(index, None, _DEADLINE_EXCEEDED, "artifact was not read in time") for index, *_ in pointers]


async def _read(redis: SharedRedis, pointers: Sequence[Pointer], max_bytes: int) -> list[Read]:
    client = await redis.client()
    named = [_key(pointer) for *_, pointer in pointers]
    commands: list[Command] = []
    for name in filter(None, named):
        commands += [("GET", keys.artifact_meta(name.removeprefix(_PREFIX))), ("STRLEN", name)]
    replies = iter(_answered(await client.pipeline(commands)))
    told = [(next(replies), next(replies)) if key else (None, 0) for key in named]
    limits = _limits(pointers, [size for _, size in told], max_bytes)
    found: list[Read | None] = []
    wanted: list[tuple[int, int]] = []
    commands = []
    for at, ((index, _, tenant, _), key, (meta, size)) in enumerate(zip(pointers, named, told, strict=True)):
        limit = limits[at]
        fault: Read | None = None
        if key is None or not isinstance(size, int) or not is_of_tenant(meta, tenant):
            fault = (index, None, _FAILED_PRECONDITION, "invalid pointer")
        elif size == 0:
            fault = (index, None, _NOT_FOUND, "missing")
        elif limit is None:
            fault = (index, None, _ABORTED, "no room for the artifacts of this result, ask again")
        else:
            wanted.append((at, size))
            commands += [("GETRANGE", key, start, end) for start, end in ends_of(size, limit)]
        found.append(fault)
    parts = iter(_answered(await client.pipeline(commands)))
    for at, size in wanted:
        head, tail = next(parts), next(parts)
        is_read = isinstance(head, bytes) and isinstance(tail, bytes) and head
        index = pointers[at][0]
        found[at] = (index, (head, tail, size), 0, "") if is_read else (index, None, _NOT_FOUND, "missing")
    return [read for read in found if read is not None]


def ends_of(size: int, limit: int) -> list[tuple[int, int]]:
    """Return where the start and the end of a content that are looked at lie; an empty end where the start is all."""
    if size <= limit:
        return [(0, size - 1), (1, 0)]
    tail = min(TAIL_BYTES, limit // 2)
    return [(0, limit - tail - 1), (size - tail, size - 1)]


def _key(pointer: str) -> str | None:
    try:
        key = key_of_pointer(pointer)
    except InvalidInput:
        return None
    return key if key.startswith(_PREFIX) else None


def _limits(pointers: Sequence[Pointer], sizes: Sequence[Any], max_bytes: int) -> Mapping[int, int | None]:
    """Return how much of each artifact is read; None where the call has no room for its result."""
    room = max_bytes * _RESULTS_PER_CALL
    left: dict[int, int] = {}
    limits: dict[int, int | None] = {}
    for at, ((index, *_), size) in enumerate(zip(pointers, sizes, strict=True)):
        limit = left.get(index, max_bytes)
        limits[at] = limit if room > 0 else None
        taken = min(size, limit) if isinstance(size, int) else 0
        left[index] = max(_LEAST_BYTES, limit - taken)
        room -= taken
    return limits


def _answered(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies; a refused command stands for a key of another type. Raises Unavailable."""
    for reply in replies:
        if isinstance(reply, Unavailable):
            raise reply
    return replies
