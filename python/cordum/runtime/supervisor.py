"""Owner of a service's long-lived tasks: each declares by name what its failure means (style §4)."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Literal, Self

from cordum.runtime.backoff import Backoff
from cordum.runtime.clock import monotonic_s
from cordum.runtime.logs import get_logger

__all__ = ["OnError", "Supervisor"]

OnError = Literal["stop", "restart", "log"]
"""`stop`: the service drains and exits 1. `restart`: run again after a back-off. `log`: only it ends."""

_RESTART_FIRST_S: Final = 0.2
_RESTART_LIMIT_S: Final = 10.0
_STABLE_S: Final = 60.0

_log = get_logger()


class Supervisor:
    """A task group whose members outlive single calls. Leaving it cancels what still runs."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._group = asyncio.TaskGroup()
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel_all()
        await self._group.__aexit__(kind, error, trace)

    def spawn(
        self,
        name: str,
        factory: Callable[[], Coroutine[Any, Any, None]],
        *,
        on_error: OnError = "stop",
    ) -> "asyncio.Task[None]":
        """Start ``factory()`` as a task; a return ends it, an exception is handled as ``on_error`` says.

        The returned task may be cancelled and awaited by its owner.
        """
        task = self._group.create_task(self._guard(name, factory, on_error), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        """Cancel every task that still runs."""
        for task in tuple(self._tasks):
            task.cancel()

    async def _guard(
        self, name: str, factory: Callable[[], Coroutine[Any, Any, None]], on_error: OnError
    ) -> None:
        backoff = Backoff(_RESTART_FIRST_S, _RESTART_LIMIT_S)
        while True:
            started_s = monotonic_s()
            try:
                await factory()
                return
            except Exception as error:  # the border where a task's declared policy decides
                _log.error("task failed", task=name, on_error=on_error, exc_info=error)
                if on_error == "stop":
                    self._on_failure(name, error)
                    return
                if on_error == "log":
                    return
            if monotonic_s() - started_s > _STABLE_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())
