"""How long jobs took, as their last events tell it (scheduler spec §3.3)."""

from cordum.store.jobs import Record, number_of

__all__ = ["taken_ms"]


def taken_ms(record: Record, now: int) -> int:
    """Return how long a job took that ends ``now`` (µs): since its last dispatch, or since it came to us."""
    since = number_of(record, "dispatched_at") or number_of(record, "created_at")
    return max(0, now - since) // 1_000 if since else 0
