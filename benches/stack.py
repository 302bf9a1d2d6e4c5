"""The system under test: Redis and NATS configured as `cordumctl up` does it, and the services asked for."""

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

import redis

from benches.machine import machine_us
from benches.policies import pipeline_policy, pools_file
from benches.processes import BenchError, Child, http_ok
from cordum import _core
from cordum.config.redis import StoreSettings
from cordum.embedded import servers
from cordum.embedded.probes import free_port, is_free
from cordum.store import keys

__all__ = ["API_KEY", "Stack", "Usage", "missing_part"]

API_KEY = "bench-0123456789abcdef0123456789abcdef"
_LOOPBACK = "127.0.0.1"
_MODULES = {
    "kernel": "cordum.kernel.main",
    "scheduler": "cordum.scheduler.main",
    "gateway": "cordum.gateway.main",
}


def missing_part(services: Iterable[str]) -> str:
    """Return why these services cannot run in this installation; empty when they can."""
    for service in services:
        if importlib.util.find_spec(_MODULES[service]) is None:
            return f"the {service} is not part of this installation"
        if service == "kernel" and not hasattr(_core, "PolicyEngine"):
            return "the policy engine is not part of this installation"
    return ""


class Usage:
    """CPU time per process, and of the whole machine, since it was made."""

    def __init__(self, children: Iterable[Child]) -> None:
        self._children = tuple(children)
        self._before = [child.cpu_us() for child in self._children]
        self._machine_us = machine_us()

    def since(self) -> dict[str, int]:
        """Return microseconds by process name; `machine`: all processes together, `disk`: cores idle for it."""
        used = {
            child.name: child.cpu_us() - before
            for child, before in zip(self._children, self._before, strict=True)
        }
        busy_us, disk_us = machine_us()
        used["machine"], used["disk"] = busy_us - self._machine_us[0], disk_us - self._machine_us[1]
        return used


class Stack:
    """Servers and services of one suite below ``root``; all of them end with the context."""

    def __init__(
        self,
        root: Path,
        services: Iterable[str],
        *,
        policy: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self._extra = dict(environment or {})
        self.policy_path = root / "safety.yaml"
        self._policy = policy or pipeline_policy()
        self.services = tuple(services)
        self.children: dict[str, Child] = {}
        self._taken: set[int] = set()
        self._health: dict[str, int] = {}
        self._exit = ExitStack()
        self._ports = {name: self._port() for name in ("redis", "nats", "kernel", "gateway", "bare")}
        self.redis: Any = redis.Redis(port=self._ports["redis"])

    def _port(self) -> int:
        port = free_port(self._taken)
        while not is_free(port):
            port = free_port(self._taken)
        return port

    @property
    def redis_url(self) -> str:
        """Return the URL of Redis."""
        return f"redis://{_LOOPBACK}:{self._ports['redis']}"

    @property
    def nats_port(self) -> int:
        """Return the port of NATS on loopback."""
        return self._ports["nats"]

    @property
    def kernel_address(self) -> str:
        """Return `host:port` of the kernel's gRPC listener."""
        return f"{_LOOPBACK}:{self._ports['kernel']}"

    @property
    def gateway_port(self) -> int:
        """Return the HTTP port of the gateway on loopback."""
        return self._ports["gateway"]

    def __enter__(self) -> Self:
        try:
            self._start_servers()
            for service in self.services:
                self._start_service(service)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.redis.close()
        self._exit.close()

    def start(self, child: Child) -> Child:
        """Start a process that ends with the stack and is counted by `usage`."""
        self.children[child.name] = child
        self._exit.enter_context(child)
        return child

    def usage(self) -> Usage:
        """Begin to count the CPU time of all processes of the stack."""
        return Usage(self.children.values())

    def _start_servers(self) -> None:
        redis_config = servers.write_redis_config(self.root / "redis", self._ports["redis"])
        command = [str(servers.find_redis_server()), str(redis_config)]
        self.start(Child("redis", command, self.root)).wait_ready(self._redis_answers)
        if self.services:
            nats_config = servers.write_nats_config(self.root / "nats", self._ports["nats"])
            command = [str(servers.find_nats_server()), "--config", str(nats_config)]
            nats = self.start(Child("nats", command, self.root))
            nats.wait_ready(lambda: not is_free(self._ports["nats"]))

    def _redis_answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.ConnectionError:
            return False

    def metric(self, service: str, name: str) -> float:
        """Return the sum of a metric's samples of a service."""
        with urlopen(f"http://{_LOOPBACK}:{self._health[service]}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        samples = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in samples)

    def _start_service(self, service: str) -> None:
        health = self._health[service] = self._port()
        environment = self._environment(health)
        command = [sys.executable, "-m", _MODULES[service]]
        child = self.start(Child(service, command, self.root, environment))
        child.wait_ready(lambda: http_ok(f"http://{_LOOPBACK}:{health}/readyz"))

    def _environment(self, health: int) -> dict[str, str]:
        policy, pools = self.policy_path, self.root / "pools.yaml"
        policy.write_text(self._policy, encoding="utf-8")
        pools.write_text(pools_file(), encoding="utf-8")
        address = f"{_LOOPBACK}:{health}"
        return {
            "REDIS_URL": self.redis_url,
            "NATS_URL": f"nats://{_LOOPBACK}:{self._ports['nats']}",
            "SAFETY_KERNEL_ADDR": f"{_LOOPBACK}:{self._ports['kernel']}",
            "SAFETY_KERNEL_ADMIN_ADDR": address,
            "SAFETY_POLICY_PATH": str(policy),
            "SAFETY_POLICY_RELOAD_INTERVAL": "100ms",
            "POOL_CONFIG_PATH": str(pools),
            "SCHEDULER_METRICS_ADDR": address,
            "GATEWAY_METRICS_ADDR": address,
            "GATEWAY_HTTP_ADDR": f"{_LOOPBACK}:{self._ports['gateway']}",
            "CORDUM_API_KEYS": API_KEY,
            **self._extra,
        }

    def open_jobs(self, tenant: str) -> int:
        """Return how many jobs of the tenant have not ended; cheap enough to poll during a run."""
        return int(self.redis.zcard(keys.tenant_open(tenant)))

    def job_counts(self, state: str) -> tuple[int, int]:
        """Return how many jobs are in ``state``, and how many duties after a commit are still open."""
        pipeline = self.redis.pipeline(transaction=False)
        tags = [keys.tag_of(partition) for partition in range(StoreSettings().partitions)]
        for tag in tags:
            pipeline.zcard(keys.job_index(tag, state))
            pipeline.zcard(keys.job_disp(tag))
            pipeline.zcard(keys.job_after(tag))
        counts = [int(count) for count in pipeline.execute()]
        return sum(counts[0::3]), sum(counts[1::3]) + sum(counts[2::3])

    def trouble(self) -> str:
        """Return states with their number of jobs and each log's last complaint, for a run that does not end."""
        states = ("PENDING", "SCHEDULED", "DISPATCHED", "RUNNING", "SUCCEEDED", "FAILED", "DENIED", "TIMEOUT")
        found = {state: self.job_counts(state)[0] for state in states}
        lines = [", ".join(f"{state} {count}" for state, count in found.items() if count)]
        for child in self.children.values():
            log = child.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
            complaints = [line for line in log if '"level":"warn' in line or '"level":"error"' in line]
            lines += (f"{child.name}: {line[-600:]}" for line in complaints[-1:])
        return "\n".join(lines)

    def used_memory(self) -> int:
        """Return the bytes Redis has allocated for data."""
        memory = self.redis.info("memory")
        if "used_memory" not in memory:
            raise BenchError("redis does not report used_memory")
        return int(memory["used_memory"])
