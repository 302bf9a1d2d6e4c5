"""A real gateway process for tests, on free ports, with keys of several roles and tenants."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.processes import end_process, free_port

POLICY = """\
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: deny-blocked
    match: {topics: [job.blocked]}
    decision: deny
    reason: "this topic is blocked"
  - id: hold-review
    match: {topics: [job.review]}
    decision: require_approval
    reason: "a person decides"
  - id: slow-down
    match: {topics: [job.slow]}
    decision: throttle
    reason: "not so fast"
  - id: allow-rest
    match: {topics: ["job.*"]}
    decision: allow
"""

KEYS: Final[dict[str, dict[str, Any]]] = {
    "alice": {"tenant": "acme", "role": "admin", "principal_id": "alice"},
    "bob": {"tenant": "acme", "role": "operator", "principal_id": "bob"},
    "vera": {"tenant": "acme", "role": "viewer", "principal_id": "vera"},
    "ulf": {"tenant": "acme", "role": "user", "principal_id": "ulf"},
    "nobody": {"tenant": "acme", "role": "clown", "principal_id": "nobody"},
    "gina": {"tenant": "globex", "role": "admin", "principal_id": "gina"},
    "root": {"tenant": "default", "role": "admin", "principal_id": "root", "allow_cross_tenant": True},
    "late": {"tenant": "acme", "role": "admin", "expires_at": "2020-01-01T00:00:00Z"},
    "twin": {"tenant": "acme", "role": "admin", "principal_id": "alice"},
    "loose": {"tenant": "acme", "role": "admin"},
}


def key_of(who: str) -> str:
    """Return the API key text of a test person."""
    return f"key-of-{who}-0123456789abcdef0123456789"


class GatewayProcess:
    """`cordum-api-gateway`. Started again it uses the same ports."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.metrics_port = free_port()
        self.log_path = folder / "gateway.log"
        keys = [{"key": key_of(who), **facts} for who, facts in KEYS.items()]
        self.environment = {
            **os.environ,
            "GATEWAY_HTTP_ADDR": f"127.0.0.1:{self.port}",
            "GATEWAY_METRICS_ADDR": f"127.0.0.1:{self.metrics_port}",
            "CORDUM_API_KEYS": json.dumps(keys),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the HTTP API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start the process without waiting for it."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cordum.gateway.main"], stdout=log, stderr=log, env=self.environment
            )
        return self._process

    def start(self, timeout_s: float = 60.0) -> "GatewayProcess":
        """Start the process and wait until it answers."""
        process = self.launch()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if httpx.get(f"{self.url}/livez", timeout=2).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"gateway did not start:\n{self.log_path.read_text()[-4_000:]}")
            time.sleep(0.05)

    def stop(self) -> int:
        """End the process in order and return its exit code."""
        assert self._process is not None
        end_process(self._process, grace_s=20)
        return int(self._process.returncode)


def client(gateway: GatewayProcess, who: str, **headers: str) -> httpx.AsyncClient:
    """Return an HTTP client that calls as a test person."""
    return httpx.AsyncClient(
        base_url=f"{gateway.url}/api/v1", headers={"X-API-Key": key_of(who), **headers}, timeout=20
    )
