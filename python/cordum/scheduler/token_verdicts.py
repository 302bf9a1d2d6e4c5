"""Whether a token fits the hash of a worker's credential, known without asking twice (protocol spec §15.5).

A check of Argon2id costs tens of milliseconds of a core and 64 MiB. So it is made once per worker, hash and token, in a
thread; until it is done the packet waits here, and the others go on.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog
from cachetools import TTLCache

from cordum.domain.errors import CordumError
from cordum.runtime.clock import monotonic_s
from cordum.security.worker_tokens import token_fits

__all__ = ["TokenVerdicts", "Verdict"]

Verdict = Literal["fits", "wrong", "error", "pending"]

CHECKS_AT_ONCE: Final = 2
_WRONG_S: Final = 60.0
_WRONG_MAX: Final = 10_000
_WAITING_MAX: Final = 4_096
_PER_WORKER_MAX: Final = 4
"""Different tokens of one worker that wait: whoever invents tokens for it delays nobody else."""
_HELD_MAX: Final = 4
"""Packets of one token that wait: a worker sends one per heartbeat interval."""

_log = structlog.get_logger("cordum.scheduler")

_Key = tuple[str, str, bytes]
"""Worker, hash of its credential, SHA-256 of the token."""


@dataclass(slots=True)
class _Waiting:
    token: str
    packets: list[bytes] = field(default_factory=list)


class TokenVerdicts:
    """``on_verdict`` gets the packets that waited for one; it judges them again, with the verdict at hand."""

    def __init__(self, on_verdict: Callable[[list[bytes]], Awaitable[None]]) -> None:
        self._on_verdict = on_verdict
        self._fits: dict[str, _Key] = {}
        self._wrong: TTLCache[_Key, Verdict] = TTLCache(_WRONG_MAX, _WRONG_S, timer=monotonic_s)
        self._waiting: dict[_Key, _Waiting] = {}
        self._per_worker: Counter[str] = Counter()
        self._queue: asyncio.Queue[_Key] = asyncio.Queue(_WAITING_MAX)

    def look(self, worker_id: str, credential_hash: str, token: str, packet: bytes) -> Verdict:
        """Return the verdict. When it is `pending` the packet is kept; `error`: it cannot be judged now."""
        key = (worker_id, credential_hash, hashlib.sha256(token.encode()).digest())
        if self._fits.get(worker_id) == key:
            return "fits"
        known = self._wrong.get(key)
        return known or self._wait(key, token, packet)

    def forget(self, worker_id: str) -> None:
        """Drop what is known of a worker that left or whose credential changed."""
        self._fits.pop(worker_id, None)

    def _wait(self, key: _Key, token: str, packet: bytes) -> Verdict:
        waiting = self._waiting.get(key)
        if waiting is None:
            if self._per_worker[key[0]] >= _PER_WORKER_MAX or self._queue.full():
                return "error"
            waiting = self._waiting[key] = _Waiting(token)
            self._per_worker[key[0]] += 1
            self._queue.put_nowait(key)
        if len(waiting.packets) < _HELD_MAX:
            waiting.packets.append(packet)
        return "pending"

    async def run(self) -> None:
        """Check tokens until cancelled."""
        async with asyncio.TaskGroup() as checks:
            for _ in range(CHECKS_AT_ONCE):
                checks.create_task(self._check_forever())

    async def _check_forever(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                verdict = await self._check(key, self._waiting[key].token)
            finally:
                waiting = self._waiting.pop(key)
                self._per_worker -= Counter({key[0]: 1})
            if verdict == "fits":
                self._fits[key[0]] = key
            else:
                self._wrong[key] = verdict
            await self._on_verdict(waiting.packets)

    @staticmethod
    async def _check(key: _Key, token: str) -> Verdict:
        try:
            return "fits" if await asyncio.to_thread(token_fits, key[1], token) else "wrong"
        except CordumError as error:
            _log.error("worker credential cannot be checked", worker_id=key[0], reason=error.message)
            return "error"
