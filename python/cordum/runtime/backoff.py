"""Delays between tries: doubling with jitter up to a limit."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Yields delays in seconds: ``first_s``, doubled up to ``limit_s``, each shortened by up to a fifth."""

    def __init__(self, first_s: float, limit_s: float) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return the next delay."""
        delay_s = self._next_s
        self._next_s = min(self._limit_s, delay_s * 2)
        return delay_s * random.uniform(0.8, 1.0)  # noqa: S311 — jitter, not a secret

    def reset(self) -> None:
        """Start again at the first delay; call after a success that lasted."""
        self._next_s = self._first_s
