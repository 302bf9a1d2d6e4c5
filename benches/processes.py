"""Child processes of a benchmark: started with a clean environment, observed through /proc, always ended."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

from benches.machine import CLOCK_TICK_US
from cordum.runtime.clock import monotonic_s

__all__ = ["BenchError", "Child", "Helper", "http_ok", "wait_for"]

_ROOT = Path(__file__).resolve().parent.parent
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
_GRACE_S = 20.0


class BenchError(Exception):
    """A benchmark cannot give a number; the text says why."""


def wait_for(condition: Callable[[], object], what: str, timeout_s: float, interval_s: float = 0.02) -> None:
    """Poll ``condition`` until it is truthy. Raises BenchError after ``timeout_s``."""
    deadline_s = monotonic_s() + timeout_s
    while not condition():
        if monotonic_s() > deadline_s:
            raise BenchError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(interval_s)


def http_ok(url: str) -> bool:
    """Tell whether ``url`` answers 200."""
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback only
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


class Child:
    """One process. Use as a context manager; output goes to ``<folder>/<name>.log``."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._command = list(command)
        kept = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ}
        self._environment = {**kept, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log_path.open("ab") as log:
            self._process = self._launch(log)
        return self

    def _launch(self, log: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment, cwd=_ROOT
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """Return the running process. Raises BenchError when it was not started."""
        if self._process is None:
            raise BenchError(f"{self.name} was not started")
        return self._process

    def check_alive(self) -> bool:
        """Return True. Raises BenchError with the end of the log when the process has ended."""
        if self.process.poll() is not None:
            tail = self.log_path.read_text(encoding="utf-8", errors="replace")[-2_000:]
            raise BenchError(f"{self.name} ended with {self.process.returncode}:\n{tail}")
        return True

    def wait_ready(self, probe: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until ``probe`` is truthy. Raises BenchError when the process ends or takes too long."""
        wait_for(lambda: self.check_alive() and probe(), f"{self.name} ready", timeout_s)

    def cpu_us(self) -> int:
        """Return user and system time of all threads so far, in microseconds (ticks of 10 ms)."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * CLOCK_TICK_US

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def stop(self) -> None:
        """Terminate, kill after a grace time; safe to call twice."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Helper(Child):
    """A load-making module of this package; it reports with one JSON object per line on stdout."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        name = module.rpartition(".")[2]
        super().__init__(name, [sys.executable, "-m", module, *arguments], folder)

    def _launch(self, log: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=self._environment,
            cwd=_ROOT,
        )

    def read(self) -> dict[str, Any]:
        """Return the next report; blocks. Raises BenchError when the process ended without one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(_GRACE_S)
            self.check_alive()
        report: dict[str, Any] = json.loads(line)
        return report

    def go(self) -> None:
        """Tell the process to begin its timed part."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()
