"""Workers as real processes, and what they say they did."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from tests.support.processes import end_process, wait_until

_PROGRAM = Path(__file__).parent / "workers" / "logging_worker.py"


class Handled(NamedTuple):
    """One run of a handler, in the worker's own words."""

    job_id: str
    dispatch_id: str
    attempt: int
    topic: str


class KeepsLog(Protocol):
    """Anything that worked on jobs and can say on which."""

    def handled(self) -> list[Handled]:
        """Return every run of a handler so far, in order."""


class WorkerProcess:
    """A published CAP worker. An option that is None keeps the SDK's default."""

    def __init__(
        self,
        folder: Path,
        nats_url: str,
        redis_url: str,
        topics: tuple[str, ...],
        *,
        worker_id: str | None = None,
        pool: str | None = None,
        parallel: int | None = None,
        heartbeat_s: float | None = 0.5,
        fail: bool = False,
    ) -> None:
        name = worker_id or "cap-runtime"
        self.worker_id = name
        self.log_path = folder / f"worker-{name}-{os.urandom(3).hex()}.jsonl"
        self._output = self.log_path.with_suffix(".out")
        self._environment = {**os.environ, "NATS_URL": nats_url, "REDIS_URL": redis_url}
        self._command = [sys.executable, str(_PROGRAM), "--log", str(self.log_path)]
        for topic in topics:
            self._command += ["--topic", topic]
        given = {"--id": worker_id, "--pool": pool, "--parallel": parallel, "--heartbeat": heartbeat_s}
        for option, value in given.items():
            if value is not None:
                self._command += [option, str(value)]
        if fail:
            self._command.append("--fail")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> "WorkerProcess":
        """Start and wait until the agent has subscribed."""
        self._launch()
        await wait_until(self._has_started, timeout_s=60)
        return self

    def _launch(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=self._environment
            )

    def _has_started(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"worker ended:\n{self._output.read_text()[-4_000:]}")
        return self.log_path.exists() and b'"started"' in self.log_path.read_bytes()

    def handled(self) -> list[Handled]:
        """Return every run of a handler so far, in order."""
        lines = map(orjson.loads, self.log_path.read_bytes().splitlines())
        return [
            Handled(line["job_id"], line["dispatch_id"], line["attempt"], line["topic"])
            for line in lines
            if "job_id" in line
        ]

    def kill(self) -> None:
        """Kill the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End the process in order."""
        if self._process is not None:
            end_process(self._process)
