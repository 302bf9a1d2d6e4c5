"""The circuit breaker around the safety kernel, shared by all replicas (policy spec §15.2).

Every step is a single-key Redis command, so the four keys may live in any slots. While Redis does not answer, a
process counts for itself, with the same numbers.
"""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol, TypeVar

from cordum.domain.errors import CordumError
from cordum.store.connection import RedisClient
from cordum.store.scripts import Command, script

__all__ = ["BreakerState", "CircuitBreaker", "Grant", "breaker_status"]

FAILURES_MAX = 3
OPEN_S = 30
TRIPPED_S = 600
PROBES_MAX = 3
PROBES_S = 3
SUCCESSES_NEEDED = 2
SUCCESSES_S = 60
READ_EVERY_S = 0.2

_T = TypeVar("_T")
_FAILURES, _TRIPPED, _PROBES, _SUCCESSES = "failures", "tripped", "probes", "successes"


class BreakerState(Enum):
    """What the breaker lets pass: every call, none, a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Grant(Enum):
    """Leave to make one call. Its outcome must be reported."""

    CALL = "call"
    PROBE = "probe"


class _Counters(Protocol):
    """The four keys. ``name`` is the last part of a key."""

    async def read(self) -> tuple[int, bool]:
        """Return the failures and whether the marker is set."""

    async def add(self, name: str, ttl_s: int, threshold: int) -> int:
        """Count; the first one and the one that reaches ``threshold`` start the TTL."""

    async def put(self, name: str, value: int, ttl_s: int) -> None:
        """Set a value."""

    async def drop(self, *names: str) -> None:
        """Delete."""

    async def give_back(self, name: str) -> None:
        """Count down; a counter at zero is deleted."""


class CircuitBreaker:
    """One breaker. ``prefix`` comes from `keys.BREAKER_…`, ``clock`` returns monotonic seconds.

    The failure counter's expiry alone does not close it: the marker stays and asks for successful probes first, of
    which there are few at a time in the whole cluster.
    """

    def __init__(self, client: RedisClient, prefix: str, clock: Callable[[], float]) -> None:
        self._shared = _SharedCounters(client, prefix)
        self._local = _LocalCounters(clock)
        self._clock = clock
        self._failures = 0
        self._tripped = False
        self._read_s = float("-inf")

    @property
    def state(self) -> BreakerState:
        """Return the state as last seen by this process."""
        if self._failures >= FAILURES_MAX:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN if self._tripped else BreakerState.CLOSED

    async def admit(self) -> Grant | None:
        """Ask to make a call; None: not now. Never raises for Redis."""
        if self._clock() - self._read_s >= READ_EVERY_S:
            await self._run(self._refresh)
        if self.state is BreakerState.CLOSED:
            return Grant.CALL
        if self.state is BreakerState.OPEN:
            return None
        return Grant.PROBE if await self._run(_start_probe) else None

    async def report(self, grant: Grant, succeeded: bool | None) -> None:
        """Tell how a granted call ended; None: it says nothing about the kernel. Never raises for Redis."""
        if grant is Grant.PROBE:
            await self._run(lambda counters: self._end_probe(counters, succeeded))
        elif succeeded is False:
            await self._run(self._count_failure)
        elif succeeded and 0 < self._failures < FAILURES_MAX:
            await self._run(self._forget_failures)

    async def half_open(self) -> None:
        """Let probes pass before the open time is over, e.g. because the kernel is seen to be back."""
        await self._run(self._forget_failures)

    async def _run(self, step: Callable[[_Counters], Awaitable[_T]]) -> _T:
        try:
            return await step(self._shared)
        except CordumError:
            return await step(self._local)

    async def _refresh(self, counters: _Counters) -> None:
        self._failures, self._tripped = await counters.read()
        self._read_s = self._clock()

    async def _count_failure(self, counters: _Counters) -> None:
        self._failures = await counters.add(_FAILURES, OPEN_S, FAILURES_MAX)
        if self._failures >= FAILURES_MAX:
            await counters.put(_TRIPPED, 1, TRIPPED_S)
            await counters.drop(_SUCCESSES)
            self._tripped = True

    async def _forget_failures(self, counters: _Counters) -> None:
        await counters.drop(_FAILURES)
        self._failures = 0

    async def _end_probe(self, counters: _Counters, succeeded: bool | None) -> None:
        if succeeded is False:
            await counters.put(_FAILURES, FAILURES_MAX, OPEN_S)
            await counters.put(_TRIPPED, 1, TRIPPED_S)
            await counters.drop(_SUCCESSES)
            self._failures, self._tripped = FAILURES_MAX, True
        elif succeeded and await counters.add(_SUCCESSES, SUCCESSES_S, SUCCESSES_NEEDED) >= SUCCESSES_NEEDED:
            await counters.drop(_TRIPPED, _SUCCESSES)
            self._tripped = False
        await counters.give_back(_PROBES)


async def _start_probe(counters: _Counters) -> bool:
    if await counters.add(_PROBES, PROBES_S, PROBES_MAX) <= PROBES_MAX:
        return True
    await counters.give_back(_PROBES)
    return False


class _SharedCounters:
    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def read(self) -> tuple[int, bool]:
        failures, tripped = await self._all(
            ("GET", self._prefix + _FAILURES), ("EXISTS", self._prefix + _TRIPPED)
        )
        # A value that is no number was not written by us: stay on the safe side.
        number = int(failures or 0) if (failures or b"0").isdigit() else FAILURES_MAX
        return number, bool(tripped)

    async def add(self, name: str, ttl_s: int, threshold: int) -> int:
        command = script("breaker_fail").command((self._prefix + name,), (ttl_s, threshold))
        return int(await self._client.execute(*command))

    async def put(self, name: str, value: int, ttl_s: int) -> None:
        await self._client.execute("SET", self._prefix + name, value, "EX", ttl_s)

    async def drop(self, *names: str) -> None:
        await self._all(*(("DEL", self._prefix + name) for name in names))

    async def give_back(self, name: str) -> None:
        # An expired counter would come back without a TTL.
        if int(await self._client.execute("DECR", self._prefix + name)) <= 0:
            await self.drop(name)

    async def _all(self, *commands: Command) -> list[bytes | None]:
        replies = await self._client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


class _LocalCounters:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._values: dict[str, tuple[int, float]] = {}

    def _value(self, name: str) -> int:
        value, until_s = self._values.get(name, (0, 0.0))
        return value if self._clock() < until_s else 0

    async def read(self) -> tuple[int, bool]:
        return self._value(_FAILURES), self._value(_TRIPPED) > 0

    async def add(self, name: str, ttl_s: int, threshold: int) -> int:
        value = self._value(name) + 1
        starts = value in {1, threshold}
        self._values[name] = (value, self._clock() + ttl_s if starts else self._values[name][1])
        return value

    async def put(self, name: str, value: int, ttl_s: int) -> None:
        self._values[name] = (value, self._clock() + ttl_s)

    async def drop(self, *names: str) -> None:
        for name in names:
            self._values.pop(name, None)

    async def give_back(self, name: str) -> None:
        value, until_s = self._values.get(name, (0, 0.0))
        self._values[name] = (max(0, value - 1), until_s)


async def breaker_status(client: RedisClient, prefix: str) -> dict[str, str | int]:
    """Return what the shared counters say, for people; UNKNOWN when Redis does not answer."""
    status: dict[str, str | int] = {
        "state": "UNKNOWN",
        "failures": -1,
        "fail_threshold": FAILURES_MAX,
        "cooldown_remaining_ms": 0,
    }
    commands: list[Command] = [
        ("GET", prefix + _FAILURES),
        ("PTTL", prefix + _FAILURES),
        ("EXISTS", prefix + _TRIPPED),
    ]
    try:
        counted, left_ms, tripped = await client.pipeline(commands)
    except CordumError:
        return status
    if any(isinstance(reply, Exception) for reply in (counted, left_ms, tripped)):
        return status
    failures = int(counted or 0)
    if failures >= FAILURES_MAX:
        return status | {"state": "OPEN", "failures": failures, "cooldown_remaining_ms": max(0, left_ms)}
    return status | {"state": "HALF_OPEN" if tripped else "CLOSED", "failures": failures}
