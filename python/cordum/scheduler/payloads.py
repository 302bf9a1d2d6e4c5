"""The payload of a stored request, as policy looks at it (scheduler spec §6.1)."""

from typing import Final

import orjson

from cordum.domain.errors import InvalidInput
from cordum.store.blobs import BlobStore, key_of_pointer

_CONTENT_MAX_BYTES: Final = 2 * 1024 * 1024


async def payload_of(blobs: BlobStore, request: bytes) -> tuple[bytes, int] | None:
    """Return the first bytes and the full length; None when there is no payload. Raises Unavailable."""
    try:
        key = key_of_pointer(orjson.loads(request).get("contextPtr") or "")
    except InvalidInput:
        return None
    return (await blobs.heads((key,), _CONTENT_MAX_BYTES))[0]
