"""Finish a write that was already sent, even when the caller is cancelled (style §4)."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["settle"]

T = TypeVar("T")


async def settle(operation: Coroutine[Any, Any, T], grace_s: float) -> T:
    """Await ``operation``; on cancellation give it ``grace_s`` more seconds, then raise CancelledError.

    The operation itself is cancelled only when the grace period ends or a second cancellation arrives.
    """
    task = asyncio.ensure_future(operation)  # noqa: TID251 — owned by this call until it is done
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _finish(task, grace_s)
        raise


async def _finish(task: "asyncio.Task[Any]", grace_s: float) -> None:
    """Wait for the task within the grace period, then cancel it."""
    try:
        await asyncio.wait({task}, timeout=grace_s)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
