"""Child processes of the embedded mode: start, watch, start again, stop; none outlives its supervisor.

Each child leads its own process group, so Ctrl-C in the terminal reaches only the supervisor, which then
stops the children in order. On Linux the kernel ends them when the supervisor is killed (PR_SET_PDEATHSIG).
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cordum.domain.errors import Unavailable
from cordum.runtime.backoff import Backoff
from cordum.runtime.clock import monotonic_s

__all__ = ["Child", "ChildSpec", "stop_children"]

_PR_SET_PDEATHSIG: Final = 1
_RESTART_FIRST_S: Final = 0.5
_RESTART_LIMIT_S: Final = 10.0
_STABLE_S: Final = 30.0
_PROBE_INTERVAL_S: Final = 0.05
_LAST_LINE_BYTES: Final = 4096

# Resolved before any fork: a child between fork and exec must not load libraries.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run one child: ``probe`` tells when it is ready, ``death_signal`` ends it if we are killed."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log_path: Path
    probe: Callable[[], Awaitable[bool]]
    stop_grace_s: float = 17.0
    death_signal: signal.Signals = signal.SIGKILL


class Child:
    """One supervised process. ``run`` is its life; ``on_change`` hears every start and unexpected end."""

    def __init__(self, spec: ChildSpec, on_change: Callable[["Child", str], None]) -> None:
        self.spec = spec
        self.restarts = 0
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._was_ready = False
        self._failed = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Return the process id while the child runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep the process running until ``stop``; a failed first start ends it early."""
        backoff = Backoff(_RESTART_FIRST_S, _RESTART_LIMIT_S)
        while not self._stopping.is_set():
            started_s = monotonic_s()
            self._process = await self._start()
            if self._stopping.is_set():  # asked to stop while the process was being created
                self._signal(signal.SIGKILL)
            self._on_change(self, "started")
            code = await self._process.wait()
            if self._stopping.is_set():
                return
            if not self._was_ready:
                self._failed.set()
                return
            if monotonic_s() - started_s > _STABLE_S:
                backoff.reset()
            delay_s = backoff.next_s()
            self.restarts += 1
            self._on_change(self, f"ended with {_exit_text(code)}, starting again in {delay_s:.1f} s")
            await self._pause(delay_s)

    async def wait_ready(self, timeout_s: float) -> None:
        """Return once the probe succeeds. Raises Unavailable when the process ends first or time is up."""
        end_s = monotonic_s() + timeout_s
        while not (self.pid is not None and await self.spec.probe()):
            if self._failed.is_set():
                raise Unavailable(
                    f"{self.spec.name} did not start: {self._last_words()}", hint=self._log_hint()
                )
            if monotonic_s() > end_s:
                raise Unavailable(
                    f"{self.spec.name} was not ready within {timeout_s:g} s: {self._last_words()}",
                    hint=self._log_hint(),
                )
            await asyncio.sleep(_PROBE_INTERVAL_S)
        self._was_ready = True

    async def stop(self) -> None:
        """Ask the process to end, kill its group when it does not. Safe to call twice."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.spec.stop_grace_s):
                await process.wait()
        except TimeoutError:
            self._on_change(self, f"did not stop within {self.spec.stop_grace_s:g} s, killed")
            self._signal(signal.SIGKILL)
            await process.wait()

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return  # ended between the check and the call

    async def _start(self) -> asyncio.subprocess.Process:
        supervisor_pid, death_signal = os.getpid(), self.spec.death_signal

        def die_with_supervisor() -> None:
            if _prctl is not None:
                _prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != supervisor_pid:
                os._exit(1)

        with self.spec.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=dict(self.spec.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_supervisor,
            )

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _last_words(self) -> str:
        """Return the last line the child wrote, preferring what it wrote for people over its JSON log."""
        try:
            with self.spec.log_path.open("rb") as log:
                log.seek(max(0, self.spec.log_path.stat().st_size - _LAST_LINE_BYTES))
                written = log.read().decode("utf-8", "replace")
        except OSError:
            return "no output"
        lines = [line.strip() for line in written.splitlines() if line.strip()]
        plain = [line for line in lines if not line.startswith("{")]
        return plain[-1] if plain else _reason(lines[-1]) if lines else "no output"

    def _log_hint(self) -> str:
        return f"see {self.spec.log_path}"


async def stop_children(groups: Iterable[Iterable[Child]]) -> None:
    """Stop the groups one after the other, the members of a group together."""
    for group in groups:
        async with asyncio.TaskGroup() as tasks:
            for child in group:
                tasks.create_task(child.stop())


def _exit_text(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _reason(line: str) -> str:
    """Return message and reason of a structured log line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    return ": ".join(str(entry[name]) for name in ("msg", "reason") if entry.get(name)) or line
