"""The only place that reads the clock (style §4). Others take time as an argument or call these."""

import time
from datetime import UTC, datetime

__all__ = ["monotonic_s", "now_s", "now_us", "rfc3339", "utc_now"]


def now_us() -> int:
    """Return the wall clock in whole microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def now_s() -> int:
    """Return the wall clock in whole seconds since the Unix epoch."""
    return time.time_ns() // 1_000_000_000


def monotonic_s() -> float:
    """Return a clock in seconds that never runs backwards; only differences mean something."""
    return time.monotonic()


def utc_now() -> datetime:
    """Return the wall clock as an aware UTC datetime."""
    return datetime.now(UTC)  # noqa: TID251 — this is the replacement


def rfc3339(us: int | None = None) -> str:
    """Format microseconds since the epoch (default: now) as RFC 3339 in UTC with microseconds and `Z`."""
    seconds, micros = divmod(now_us() if us is None else us, 1_000_000)
    parts = time.gmtime(seconds)
    return (
        f"{parts.tm_year:04d}-{parts.tm_mon:02d}-{parts.tm_mday:02d}T"
        f"{parts.tm_hour:02d}:{parts.tm_min:02d}:{parts.tm_sec:02d}.{micros:06d}Z"
    )
