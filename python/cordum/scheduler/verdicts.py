"""From planner verdicts to bus verdicts, poison included (protocol spec §8.4, §8.5)."""

from collections.abc import Sequence

import structlog

from cordum.bus.messages import ACK, CORRUPT_RETRY, NAK, TERM, InMessage, Verdict, is_poison, poison_entry
from cordum.bus.metrics import POISON
from cordum.domain.errors import CordumError
from cordum.runtime.clock import now_us, rfc3339
from cordum.scheduler import metrics
from cordum.store.dlq import DeadLetterStore

_log = structlog.get_logger("cordum.scheduler")
NAK_KIND = 1
_CORRUPT = 2


async def settle_verdicts(
    letters: DeadLetterStore,
    consumer: str,
    stream: str,
    messages: Sequence[InMessage],
    planned: Sequence[tuple[int, float]],
) -> list[Verdict]:
    """Return one bus verdict per message; poison is dead-lettered first, then terminated."""
    return [
        ACK
        if kind not in (NAK_KIND, _CORRUPT)
        else await _trouble(letters, consumer, stream, message, kind, delay_s)
        for message, (kind, delay_s) in zip(messages, planned, strict=True)
    ]


async def _trouble(
    letters: DeadLetterStore, consumer: str, stream: str, message: InMessage, kind: int, delay_s: float
) -> Verdict:
    corrupt = kind == _CORRUPT
    if corrupt and message.delivered == 1:
        metrics.INVALID_PACKETS.labels(message.subject, "malformed").inc()
    if not is_poison(message, corrupt=corrupt):
        return CORRUPT_RETRY if corrupt else NAK(delay_s)
    try:
        await letters.put_poison(poison_entry(stream, message, rfc3339()), now_us=now_us())
    except CordumError as error:
        _log.warning("poison message not dead-lettered yet", seq=message.stream_seq, error=str(error))
        return CORRUPT_RETRY
    POISON.labels(consumer).inc()
    _log.error(
        "poison message dead-lettered", consumer=consumer, seq=message.stream_seq, delivered=message.delivered
    )
    return TERM
