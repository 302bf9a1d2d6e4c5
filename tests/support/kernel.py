"""A real safety kernel process for tests, on free ports."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import end_process, free_port

ALLOW_ECHO = """\
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: allow-echo
    match: {topics: [job.demo.echo]}
    decision: allow
"""


class KernelProcess:
    """`cordum-safety-kernel` with a policy file a test may change. Started again it uses the same ports."""

    def __init__(self, folder: Path, policy: str | None = ALLOW_ECHO, **environment: str) -> None:
        self.port = free_port()
        self.admin_port = free_port()
        self.policy_path = folder / "safety.yaml"
        self.log_path = folder / "kernel.log"
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        if policy is not None:
            self.write_policy(policy)

    @property
    def address(self) -> str:
        """`host:port` of the gRPC listener."""
        return f"127.0.0.1:{self.port}"

    def write_policy(self, text: str) -> None:
        """Replace the policy file in one step, as a mounted file changes."""
        draft = self.policy_path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.policy_path)

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start the process without waiting for it."""
        environment = {
            **os.environ,
            "SAFETY_KERNEL_ADDR": self.address,
            "SAFETY_KERNEL_ADMIN_ADDR": f"127.0.0.1:{self.admin_port}",
            "SAFETY_POLICY_PATH": str(self.policy_path),
            "SAFETY_POLICY_RELOAD_INTERVAL": "100ms",
            "SAFETY_POLICY_CONFIG_DISABLE": "true",
            **self.environment,
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cordum.kernel.main"], stdout=log, stderr=log, env=environment
            )
        return self._process

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the process and wait until it answers `/livez`."""
        process = self.launch()
        deadline = time.monotonic() + timeout_s
        while self.probe("livez") != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"kernel did not start:\n{self.log_path.read_text()[-4_000:]}")
            time.sleep(0.05)

    def probe(self, path: str) -> int:
        """Return the status of an admin route, 0 when nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.admin_port}/{path}", timeout=2).status_code
        except httpx.TransportError:
            return 0

    def metrics(self) -> str:
        """Return the Prometheus text."""
        return httpx.get(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=2).text

    def kill(self) -> None:
        """Kill the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """End the process in order and return its exit code."""
        if self._process is None:
            return 0
        end_process(self._process, grace_s=20)
        return int(self._process.returncode)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    """A running kernel that allows `job.demo.echo` and denies the rest."""
    process = KernelProcess(tmp_path)
    process.start()
    yield process
    process.stop()
