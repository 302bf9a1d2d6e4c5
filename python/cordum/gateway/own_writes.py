"""Whoever just wrote a policy is answered under it (policy spec §10)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from cordum.runtime.clock import monotonic_s

__all__ = ["FRESH_S", "WAIT_MAX_S", "OwnWrites"]

FRESH_S: Final = 5.0
"""How long after a write answers are compared with it."""
WAIT_MAX_S: Final = 2.0
_PAUSE_FIRST_S: Final = 0.02
_PAUSE_MAX_S: Final = 0.2

Answer = TypeVar("Answer")


class OwnWrites:
    """Knows the `cfg:` part that the last write of this gateway must produce, and waits for kernels that lag behind."""

    def __init__(self, clock_s: Callable[[], float] = monotonic_s) -> None:
        self._clock_s = clock_s
        self._expected = ""
        self._until_s = float("-inf")

    def note(self, snapshot: str) -> None:
        """Remember the `cfg:` part of a write, empty when no bundle is active any more."""
        self._expected, self._until_s = snapshot, self._clock_s() + FRESH_S

    async def caught_up(self, active: Callable[[], Awaitable[str]]) -> None:
        """Wait until ``active`` returns a snapshot of the last write, for at most two seconds. Raises as it does."""
        if self._clock_s() < self._until_s:
            await self.ask(active, lambda snapshot: snapshot)

    async def ask(
        self, call: Callable[[], Awaitable[Answer]], snapshot_of: Callable[[Answer], str]
    ) -> Answer:
        """Return the answer of ``call``, asked again while it is of an older policy, for at most two seconds.

        Raises what ``call`` raises.
        """
        answer = await call()
        give_up_s, pause_s = self._clock_s() + WAIT_MAX_S, _PAUSE_FIRST_S
        while self._is_older(snapshot_of(answer)):
            left_s = give_up_s - self._clock_s()
            if left_s <= 0:
                # Somebody else may have written since, or the kernel refuses the policy: waiting once is enough.
                self._until_s = float("-inf")
                break
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
            answer = await call()
        return answer

    def _is_older(self, snapshot: str) -> bool:
        return self._clock_s() < self._until_s and _bundles_part(snapshot) != self._expected


def _bundles_part(snapshot: str) -> str:
    _, _, last = snapshot.rpartition("|")
    return last if last.startswith("cfg:") else ""
