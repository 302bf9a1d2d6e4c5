"""Counters of output checks per tenant and hour, and the jobs each rule decided about (output policy spec §11.3,
§11.4)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command

__all__ = ["OutputCheckNote", "OutputStatistics", "OutputStats", "note_commands"]

_STATS_TTL_S: Final = 48 * 3600
_RULE_TTL_S: Final = 7 * 24 * 3600
_RULE_MAX: Final = 10_000
_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class OutputCheckNote:
    """One check. ``decision`` upper case, empty when the result passed unchecked; ``at_us`` since the epoch."""

    tenant: str
    job_id: str
    decision: str
    rule_id: str
    duration_ms: int
    at_us: int


@dataclass(frozen=True, slots=True)
class OutputStatistics:
    """Sums of the last 24 hours."""

    checks: int = 0
    quarantined: int = 0
    redacted: int = 0
    skipped: int = 0
    duration_ms: int = 0
    timed: int = 0
    last_at_us: int = 0


def note_commands(notes: Iterable[OutputCheckNote]) -> list[Command]:
    """Return the commands that count checks; each works on one key."""
    sums: dict[str, dict[str, int]] = {}
    last: dict[str, int] = {}
    rules: dict[str, list[int | str]] = {}
    for note in notes:
        key = keys.output_stats(note.tenant, _hour(note.at_us))
        counts = sums.setdefault(key, {})
        if not note.decision:
            counts["skipped"] = counts.get("skipped", 0) + 1
            continue
        for name, number in _counts(note):
            counts[name] = counts.get(name, 0) + number
        last[key] = max(note.at_us, last.get(key, 0))
        if note.decision != "ALLOW" and note.rule_id:
            rules.setdefault(note.rule_id, []).extend((note.at_us // 1_000_000, note.job_id))
    commands: list[Command] = []
    for key, counts in sums.items():
        commands += [("HINCRBY", key, name, number) for name, number in counts.items()]
        if key in last:
            commands.append(("HSET", key, "last", last[key]))
        commands.append(("EXPIRE", key, _STATS_TTL_S))
    for rule, pairs in rules.items():
        key = keys.output_rule(rule)
        commands += [
            ("ZADD", key, *pairs),
            ("ZREMRANGEBYRANK", key, 0, -(_RULE_MAX + 1)),
            ("EXPIRE", key, _RULE_TTL_S),
        ]
    return commands


def _counts(note: OutputCheckNote) -> list[tuple[str, int]]:
    counts = [("checks", 1)]
    if note.decision in {"QUARANTINE", "DENY"}:
        counts.append(("quarantined", 1))
    elif note.decision == "REDACT":
        counts.append(("redacted", 1))
    if note.duration_ms > 0:
        counts += [("duration_ms", note.duration_ms), ("timed", 1)]
    return counts


def _hour(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y%m%d%H")


class OutputStats:
    """Reads what was counted."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def totals(self, tenants: Sequence[str], now_us: int) -> OutputStatistics:
        """Return the sums of these tenants over the last 24 hours. Raises Unavailable."""
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        hours = [(now - timedelta(hours=back)).strftime("%Y%m%d%H") for back in range(_HOURS)]
        names = ("checks", "quarantined", "redacted", "skipped", "duration_ms", "timed", "last")
        replies = await self._client.pipeline(
            [("HMGET", keys.output_stats(tenant, hour), *names) for tenant in tenants for hour in hours]
        )
        sums = [0] * len(names)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
            numbers = [int(value or 0) for value in reply]
            last = max(sums[-1], numbers[-1])
            sums = [*(one + other for one, other in zip(sums[:-1], numbers[:-1], strict=True)), last]
        return OutputStatistics(*sums)

    async def triggers(self, rules: Sequence[str], now_us: int) -> list[tuple[int, int]]:
        """Return per rule how often it decided in the last 24 hours and when last, in Unix seconds (0: not in 7 days).
        Raises Unavailable."""
        since = now_us // 1_000_000 - _HOURS * 3600
        commands: list[Command] = []
        for rule in rules:
            key = keys.output_rule(rule)
            commands += [("ZCOUNT", key, since, "+inf"), ("ZREVRANGE", key, 0, 0, "WITHSCORES")]
        replies = await self._client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        newest = [int(float(reply[1])) if reply else 0 for reply in replies[1::2]]
        return list(zip(map(int, replies[::2]), newest, strict=True))

    async def jobs_of(self, rule: str, limit: int) -> list[str]:
        """Return the jobs a rule decided about in the last 7 days, newest first. Raises Unavailable."""
        members = await self._client.execute("ZREVRANGE", keys.output_rule(rule), 0, limit - 1)
        return [member.decode() for member in members]
