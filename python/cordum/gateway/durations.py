"""Durations as clients write and read them: `90s` in, `1m30s` out."""

import re
from decimal import Decimal
from typing import Final

__all__ = ["go_duration", "parse_go_duration"]

_UNITS_S: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h)")
_TEXT_CHARS: Final = 64


def parse_go_duration(text: str) -> int | None:
    """Return the whole seconds of `5m`, `1h30m`, `90s`; None for other texts and for fractions of a second."""
    body = text.strip()
    if not body or len(body) > _TEXT_CHARS:
        return None
    total, end = Decimal(0), 0
    for part in _PART.finditer(body):
        if part.start() != end:
            return None
        total += Decimal(part[1]) * _UNITS_S[part[2]]
        end = part.end()
    return int(total) if end == len(body) and total == int(total) else None


def go_duration(seconds: int) -> str:
    """Return whole seconds as Go prints them: `45s`, `1m30s`, `24h0m0s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
