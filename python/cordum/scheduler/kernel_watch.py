"""Ends the open time of a circuit early when a kernel that was gone serves again (policy spec §15.2)."""

import asyncio
from typing import Final

import structlog

from cordum.protocol.kernel_client import KernelCallFailed, PolicyClient
from cordum.runtime.clock import monotonic_s
from cordum.store.breaker import BreakerState, CircuitBreaker

__all__ = ["KernelWatch"]

_EVERY_S: Final = 0.25
_HALF_OPEN_EVERY_S: Final = 5.0

_log = structlog.get_logger("cordum.scheduler")


class KernelWatch:
    """Watches the kernel behind one breaker. ``circuit`` names it in the log.

    The open time protects a struggling kernel; one that was gone and is back needs no protection, and what waits for
    it should not wait for the rest of that time.
    """

    def __init__(self, kernel: PolicyClient, breaker: CircuitBreaker, circuit: str) -> None:
        self._kernel = kernel
        self._breaker = breaker
        self._circuit = circuit
        self._gone = False

    def note(self, error: KernelCallFailed) -> None:
        """Remember how a call failed: the kernel may serve again before this watch next looks for it."""
        self._gone = error.is_unreachable

    async def run(self) -> None:
        """While the circuit is open because nobody listened, let probes pass as soon as somebody does."""
        last_s = float("-inf")
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._breaker.state is not BreakerState.OPEN:
                continue
            if not await self._kernel.is_serving(_EVERY_S):
                self._gone = True
            elif self._gone and monotonic_s() - last_s > _HALF_OPEN_EVERY_S:
                self._gone, last_s = False, monotonic_s()
                await self._breaker.half_open()
                _log.info("safety kernel serves again, circuit half open", circuit=self._circuit)
