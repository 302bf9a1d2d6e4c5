"""Velocity counters: how often something happened within a sliding window (policy spec §13.1).

A list of checks is one round trip. The answer never waits for statistics: what they need is noted in memory
and written by `flush`, best effort.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from cordum.domain.errors import Unavailable
from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command, script

__all__ = ["CountedRule", "VelocityCheck", "VelocityCounters", "rule_of"]

TIMEOUT_S: Final = 0.5
HOUR_S: Final = 3_600
STATISTICS_TTL_S: Final = 26 * HOUR_S
BUCKETS_MAX: Final = 1_000
"""Buckets the index of one rule keeps, the most recently used."""
BUCKETS_MIN: Final = 10
PROBES_MAX: Final = 10_000
"""Buckets looked at for one answer of statistics."""
STATISTICS_TIMEOUT_S: Final = 5.0
PENDING_MAX: Final = 20_000
"""Notes that wait for `flush`; more are dropped and counted."""
LAST: Final = "last"


@dataclass(frozen=True, slots=True)
class VelocityCheck:
    """One question: is ``member`` within ``max_requests`` per ``window_s`` seconds of its bucket?"""

    key_suffix: str
    """`<rule id>:<bucket>`, escaped by the engine."""
    member: str
    """The job id; empty for a request that is no job, which counts as a new member."""
    max_requests: int
    window_s: int


@dataclass(frozen=True, slots=True)
class CountedRule:
    """A velocity rule whose statistics are wanted; the id of a velocity bundle's rule needs no escaping."""

    id: str
    max_requests: int
    window_s: int


def rule_of(key_suffix: str) -> str:
    """Return the escaped rule id of a key suffix; an escaped id holds no colon."""
    return key_suffix.partition(":")[0]


class VelocityCounters:
    """Counts in Redis; one instance per process."""

    def __init__(self, client: RedisClient, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._hits: Counter[tuple[str, int]] = Counter()
        self._used: dict[str, int] = {}
        self._last_us: dict[str, int] = {}
        self.dropped = 0
        """Notes for statistics that found no room since the start."""

    async def count(self, checks: Sequence[VelocityCheck], *, record: bool, now_us: int) -> list[int | None]:
        """Return the members of each bucket, the asking one included; None where Redis gave no number.

        ``record`` adds the member, else the buckets are only read; ``now_us`` dates the statistics, the
        window follows Redis's clock. Never raises for Redis: an error or a time-out is None.
        """
        if not checks:
            return []
        commands = [_command(check, record=record) for check in checks]
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._client.pipeline(commands)
        except (Unavailable, TimeoutError):
            return [None] * len(checks)
        counts = [reply if isinstance(reply, int) else None for reply in replies]
        if record:
            self._note(checks, counts, now_us)
        return counts

    def _note(self, checks: Sequence[VelocityCheck], counts: Sequence[int | None], now_us: int) -> None:
        now_seconds = now_us // 1_000_000
        for check, count in zip(checks, counts, strict=True):
            if count is None:
                continue
            if len(self._used) >= PENDING_MAX and check.key_suffix not in self._used:
                self.dropped += 1
            else:
                self._used[check.key_suffix] = now_seconds
            if count > check.max_requests:
                rule = rule_of(check.key_suffix)
                self._hits[rule, now_seconds // HOUR_S] += 1
                self._last_us[rule] = now_us

    async def flush(self) -> None:
        """Write the noted statistics. Raises Unavailable; what was noted is then lost, as best effort allows."""
        hits, self._hits = self._hits, Counter()
        used, self._used = self._used, {}
        last_us, self._last_us = self._last_us, {}
        commands = [command for rule, hour in hits for command in _hit_commands(rule, hour, hits, last_us)]
        for rule, buckets in _by_rule(used).items():
            commands += _index_commands(rule, buckets)
        # Bounded pipelines: a burst over many rules must not become one huge request.
        for start in range(0, len(commands), 1_024):
            async with asyncio.timeout(self._timeout_s * 4):
                await self._client.pipeline(commands[start : start + 1_024])

    async def statistics(
        self, rule_id: str, *, max_requests: int, window_s: int, now_us: int
    ) -> dict[str, Any]:
        """Return the `Stat` of one rule; see `statistics_of`."""
        return (await self.statistics_of([CountedRule(rule_id, max_requests, window_s)], now_us=now_us))[0]

    async def statistics_of(self, rules: Sequence[CountedRule], *, now_us: int) -> list[dict[str, Any]]:
        """Return the `Stat` of each rule (policy spec §19.2), its time as `last_triggered_us`. Raises Unavailable.

        Never scans keys: the last 24 h come from hourly counters, the window from the indexed buckets. Two round
        trips however many rules, and at most 10 000 buckets: of many rules only the most recent ones of each count.
        """
        now = now_us // 1_000_000
        limit = max(BUCKETS_MIN, min(BUCKETS_MAX, PROBES_MAX // max(len(rules), 1)))
        reads: list[Command] = []
        for rule in rules:
            newest = ("ZREVRANGEBYSCORE", keys.velocity_index(rule.id), "+inf", now - rule.window_s - 1)
            reads += [("HGETALL", keys.velocity_hits(rule.id)), (*newest, "LIMIT", 0, limit)]
        async with _deadline():
            replies = await self._client.pipeline(reads) if reads else []
        _raise_first(replies)
        names = replies[1::2]
        # The empty member never exists, so reading counts one too many.
        probes = [
            VelocityCheck(f"{rule.id}:{name.decode()}", "\0statistics", rule.max_requests, rule.window_s)
            for rule, found in zip(rules, names, strict=True)
            for name in found
        ]
        async with _deadline():
            counts = (
                await self._client.pipeline([_command(one, record=False) for one in probes]) if probes else []
            )
        _raise_first(counts)
        rest = iter(counts)
        return [
            _stat(rule.id, _pairs(fields), [next(rest) - 1 for _ in found], rule.max_requests, now)
            for rule, fields, found in zip(rules, replies[::2], names, strict=True)
        ]


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(STATISTICS_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise Unavailable("redis did not answer in time") from error


def _command(check: VelocityCheck, *, record: bool) -> Command:
    member = check.member or f"\0{secrets.token_hex(12)}"
    arguments = (check.window_s, check.max_requests, member, int(record))
    return script("velocity_count").command((keys.velocity(check.key_suffix),), arguments)


def _hit_commands(
    rule: str, hour: int, hits: Counter[tuple[str, int]], last_us: dict[str, int]
) -> list[Command]:
    key = keys.velocity_hits(rule)
    # The hash lives 26 h after its last hit, so a field that is written on can be at most 51 h old.
    stale = [str(hour - age) for age in range(25, 52)]
    return [
        ("HINCRBY", key, str(hour), hits[rule, hour]),
        ("HSET", key, LAST, last_us.get(rule, 0)),
        ("HDEL", key, *stale),
        ("EXPIRE", key, STATISTICS_TTL_S),
    ]


def _by_rule(used: dict[str, int]) -> dict[str, list[tuple[str, int]]]:
    rules: dict[str, list[tuple[str, int]]] = {}
    for key_suffix, used_s in used.items():
        rule, _, bucket = key_suffix.partition(":")
        rules.setdefault(rule, []).append((bucket, used_s))
    return rules


def _index_commands(rule: str, buckets: list[tuple[str, int]]) -> list[Command]:
    key = keys.velocity_index(rule)
    newest = sorted(buckets, key=lambda bucket: bucket[1])[-BUCKETS_MAX:]
    members = [part for bucket, used_s in newest for part in (used_s, bucket)]
    return [
        ("ZADD", key, *members),
        ("ZREMRANGEBYRANK", key, 0, -BUCKETS_MAX - 1),
        ("EXPIRE", key, STATISTICS_TTL_S),
    ]


def _stat(
    rule_id: str, fields: dict[str, int], counts: list[int], max_requests: int, now: int
) -> dict[str, Any]:
    hour = now // HOUR_S
    hourly = [fields.get(str(hour - age), 0) for age in range(23, -1, -1)]
    active = [count for count in counts if count > 0]
    stat: dict[str, Any] = {
        "id": rule_id,
        "hit_count_24h": sum(hourly),
        "hit_rate_24h": sum(hourly) / 24,
        "current_window_count": sum(active),
        "current_window_max": max(active, default=0),
        "active_buckets": len(active),
        "exceeded_buckets": sum(1 for count in active if count > max_requests),
        "hourly_hits": hourly,
    }
    if fields.get(LAST):
        stat["last_triggered_us"] = fields[LAST]
    return stat


def _pairs(flat: list[bytes]) -> dict[str, int]:
    return {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)}


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
