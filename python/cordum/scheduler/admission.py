"""Topics and payloads before policy is asked: registrations and input schemas (scheduler spec §5 steps 4 and 5)."""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from cordum._core import SubmitPlan
from cordum.store.blobs import BlobStore

__all__ = ["Admission"]

_log = structlog.get_logger("cordum.scheduler")
_PAYLOAD_MAX_BYTES: Final = 4 * 1024 * 1024
# Payloads held at once: 32 x 4 MiB per batch in flight.
_PAYLOADS_AT_ONCE: Final = 32
_LOGGED_MAX: Final = 10

Notice = tuple[str, str, str, str, str, bool, list[tuple[str, str]]]


class Admission:
    """Checks submit plans; the planner decides, this reads payloads and tells of what was found."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def admit(self, plan: SubmitPlan) -> None:
        """Check every job of a plan. Raises Unavailable when payloads cannot be read: the batch comes again."""
        _report(plan.admit())
        while wanted := plan.unchecked()[:_PAYLOADS_AT_ONCE]:
            found = await self._blobs.heads([key for _, key in wanted], _PAYLOAD_MAX_BYTES)
            payloads = [(index, payload) for (index, _), payload in zip(wanted, found, strict=True)]
            _report(await asyncio.to_thread(plan.check_payloads, payloads))


def _report(notices: Iterable[Notice]) -> None:
    for job_id, tenant, topic, schema_id, code, fatal, violations in notices:
        write = _log.error if fatal else _log.warning
        write(
            code,
            job_id=job_id,
            tenant=tenant,
            topic=topic,
            **({"schema_id": schema_id} if schema_id else {}),
            **({"violations": _shown(violations)} if violations else {}),
        )


def _shown(violations: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "message": message} for path, message in violations[:_LOGGED_MAX]]
