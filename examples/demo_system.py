"""The processes of the demo: `cordumctl up` and one worker, on free ports, below one temporary directory."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

HERE: Final = Path(__file__).resolve().parent
READY_LIMIT_S: Final = 90.0
STOP_LIMIT_S: Final = 30.0
_POLL_S: Final = 0.05
_LOG_TAIL_LINES: Final = 15

T = TypeVar("T")


class DemoFailed(Exception):
    """The demo cannot go on; the message is for the reader of the terminal."""


def wait_for(what: str, probe: Callable[[], T | None], limit_s: float, poll_s: float = _POLL_S) -> T:
    """Call ``probe`` until it returns something, then return that. Raises DemoFailed after ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while True:
        found = probe()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} did not happen within {limit_s:g} s")
        time.sleep(poll_s)


def _stop(process: "subprocess.Popen[bytes]", limit_s: float) -> None:
    """End a process in order; after ``limit_s`` end its whole group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class DemoSystem:
    """A running system. Leaving the `with` block stops everything; the files stay only after a failure."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="cordum-demo-"))
        self.data = self.root / "data"
        self.url = ""
        self.keys: dict[str, str] = {}
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _uninterrupted():
            for _, process in reversed(self._processes):
                _stop(process, STOP_LIMIT_S)
            if kind is None or issubclass(kind, KeyboardInterrupt):
                shutil.rmtree(self.root, ignore_errors=True)

    def start(self) -> None:
        """Start the embedded system and wait until it answers. Raises DemoFailed."""
        ports = [part for name in ("", "nats-", "redis-", "kernel-") for part in (f"--{name}port", "0")]
        arguments = ["-m", "cordum.cli.main", "up", "--data-dir", str(self.data), *ports]
        up = self._spawn("cordumctl-up", arguments, {})
        endpoints = wait_for("start of the system", lambda: self._endpoints(up), READY_LIMIT_S)
        self.url = str(endpoints["http"])
        self.keys = json.loads((self.data / "keys.json").read_text(encoding="utf-8"))

    def start_worker(self) -> None:
        """Start the example worker against this system."""
        endpoints = json.loads((self.data / "endpoints.json").read_text(encoding="utf-8"))
        environment = {"NATS_URL": endpoints["nats"], "REDIS_URL": endpoints["redis"]}
        self._spawn("worker", [str(HERE / "worker.py")], environment)

    def check(self) -> None:
        """Raise DemoFailed when one of our processes has ended."""
        for name, process in self._processes:
            if process.poll() is not None:
                raise DemoFailed(f"{name} ended with exit code {process.returncode}\n{self.log_tail(name)}")

    def log_tail(self, name: str) -> str:
        """Return the last lines of a process's output."""
        text = (self.root / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-_LOG_TAIL_LINES:])

    def _spawn(self, name: str, arguments: list[str], extra: dict[str, str]) -> "subprocess.Popen[bytes]":
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the others in order.
        with (self.root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **extra},
                start_new_session=True,
            )
        self._processes.append((name, process))
        return process

    def _endpoints(self, up: "subprocess.Popen[bytes]") -> dict[str, Any] | None:
        path = self.data / "endpoints.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        if up.poll() is not None:
            raise DemoFailed(f"the system did not start:\n{self.log_tail('cordumctl-up')}")
        return None


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C wait until everything is stopped."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
