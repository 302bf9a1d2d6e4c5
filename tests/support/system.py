"""A whole system for tests: `cordumctl up` on free ports as a child process."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.processes import wait_until


class System:
    """`cordumctl up` on one data directory. ``endpoints`` and ``keys`` are valid once ``start`` returned."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        self._arguments = arguments
        self.process: asyncio.subprocess.Process | None = None
        self.output = ""

    async def start(self, timeout_s: float = 60.0) -> None:
        """Start and wait until the system is ready; fail with its output otherwise."""
        ports = ("--port", "0", "--nats-port", "0", "--redis-port", "0", "--kernel-port", "0")
        command = ("-m", "cordum.cli.main", "up", "--data-dir", str(self.data_dir), *ports, *self._arguments)
        (self.data_dir.parent / "up.out").write_bytes(b"")
        with (self.data_dir.parent / "up.out").open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=out, stderr=out
            )
        await wait_until(lambda: self.is_ready or self.process.returncode is not None, timeout_s)  # type: ignore[union-attr]
        self.output = (self.data_dir.parent / "up.out").read_text()
        assert self.is_ready, self.output

    @property
    def is_ready(self) -> bool:
        """Tell whether the system published its addresses."""
        return (self.data_dir / "endpoints.json").exists()

    @property
    def endpoints(self) -> dict[str, Any]:
        """Return the published addresses and process ids."""
        found: dict[str, Any] = json.loads((self.data_dir / "endpoints.json").read_text())
        return found

    @property
    def keys(self) -> dict[str, str]:
        """Return the API key per principal."""
        found: dict[str, str] = json.loads((self.data_dir / "keys.json").read_text())
        return found

    def client(self, principal: str = "admin") -> httpx.AsyncClient:
        """Return an HTTP client with the key of ``principal``."""
        headers = {"X-API-Key": self.keys[principal]}
        return httpx.AsyncClient(base_url=f"{self.endpoints['http']}/api/v1", headers=headers, timeout=10)

    def kill(self, name: str) -> int:
        """Kill one process with SIGKILL and return its id."""
        pid = int(self.endpoints["pids"][name])
        os.kill(pid, signal.SIGKILL)
        return pid

    async def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 40.0) -> int:
        """Send the signal and return the exit code of `cordumctl up`."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()


def running(pids: list[int]) -> list[int]:
    """Return the ids whose process exists and is more than a zombie."""
    alive = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
        except psutil.NoSuchProcess:
            continue
    return alive
