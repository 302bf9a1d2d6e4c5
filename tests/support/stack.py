"""The real system for one test: servers and services as processes on free ports; each may be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from cordum.config.redis import StoreSettings
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from tests.support.nats_server import NatsCluster, NatsServer
from tests.support.processes import end_process, free_port, wait_until
from tests.support.redis_servers import RedisCluster, RedisServer
from tests.support.worker_log import WorkerProcess

API_KEY = "k" * 64
APPROVER_KEY = "a" * 64
_KEYS = [
    {"key": API_KEY, "tenant": "default", "role": "admin", "principal_id": "admin"},
    {"key": APPROVER_KEY, "tenant": "default", "role": "operator", "principal_id": "approver"},
]
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")

_TOPICS = {"job.test.echo": "test", "job.test.denied": "test", "job.test.review": "test"}

POLICY = """\
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: deny-denied
    match: {topics: [job.test.denied]}
    decision: deny
    reason: "denied for the test"
  - id: hold-review
    match: {topics: [job.test.review]}
    decision: require_approval
    reason: "a person looks first"
  - id: allow-tests
    match: {topics: [job.test.*, job.default]}
    decision: allow
"""


@dataclass(frozen=True)
class StackOptions:
    """What differs between the systems that tests need. Times in seconds."""

    schedulers: int = 1
    gateway: bool = True
    policy: str = POLICY
    topics: Mapping[str, str] = field(default_factory=lambda: dict(_TOPICS))
    dispatch_timeout_s: int = 5
    running_timeout_s: int = 20
    scan_interval_s: int = 1
    ack_wait_s: int = 4
    redis_fsync: str = "everysec"
    redis_cluster: bool = False
    """Three primaries with a replica each instead of a single server."""
    nats_cluster: bool = False
    """Three nodes that keep every stream three times."""
    environment: Mapping[str, str] = field(default_factory=dict)


class ServiceProcess:
    """One service of ours. Started again after `kill` it is a new process on the same ports."""

    def __init__(self, name: str, module: str, folder: Path, env: Mapping[str, str], ready_url: str) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.ready_url = ready_url
        self._argv = [sys.executable, "-P", "-m", module]
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        self._env = {**inherited, **env}
        self._process: subprocess.Popen[bytes] | None = None

    def change_environment(self, changes: Mapping[str, str]) -> None:
        """Set variables for the next start."""
        self._env |= changes

    @property
    def exit_code(self) -> int | None:
        """How the last process ended, negative for a signal; None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start without waiting."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, env=self._env)

    async def wait_ready(self, timeout_s: float = 90.0) -> None:
        """Wait until the service says that it is ready; fail when it ends first."""
        async with httpx.AsyncClient(timeout=2) as client:

            async def ready() -> bool:
                if not self.is_running:
                    raise AssertionError(f"{self.name} ended:\n{self.tail()}")
                try:
                    return (await client.get(self.ready_url)).status_code == 200
                except httpx.TransportError:
                    return False

            await wait_until(ready, timeout_s=timeout_s, interval_s=0.05)

    async def start(self) -> None:
        """Start and wait until ready."""
        self.launch()
        await self.wait_ready()

    def kill(self) -> None:
        """Kill at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self, grace_s: float = 20.0) -> int:
        """Ask to stop and return the exit code; kill after ``grace_s``."""
        if self._process is None:
            return 0
        end_process(self._process, grace_s)
        return int(self._process.returncode)

    def pause(self) -> None:
        """Freeze the process: it keeps its connections and answers nobody."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """Let a frozen process run on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels."""
        url = self.ready_url.rsplit("/", 1)[0] + "/metrics"
        async with httpx.AsyncClient(timeout=5) as client:
            text = (await client.get(url)).text
        return _sum_samples(text, name, labels)

    def tail(self, characters: int = 4_000) -> str:
        """Return the end of the log."""
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else ""


def _sum_samples(text: str, name: str, labels: Mapping[str, str]) -> float:
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    total = 0.0
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        if head.partition("{")[0] == name and all(pair in head for pair in wanted):
            total += float(value)
    return total


class Stack:
    """Redis, NATS, kernel, schedulers and gateway below one folder."""

    def __init__(self, folder: Path, options: StackOptions) -> None:
        self.folder = folder
        self.options = options
        self.nats_cluster = NatsCluster(folder / "nats") if options.nats_cluster else None
        self.nats: NatsServer | NatsCluster = self.nats_cluster or NatsServer(
            free_port(), folder / "nats", sync_always=True
        )
        persistence = ("--appendonly", "yes", "--appendfsync", options.redis_fsync)
        self.redis_cluster = RedisCluster(folder / "redis") if options.redis_cluster else None
        self.redis: RedisServer | RedisCluster = self.redis_cluster or RedisServer(
            folder / "redis", *persistence
        )
        self.kernel_port, self.http_port = free_port(), free_port()
        self._write_files()
        self.kernel = self._service("kernel", "SAFETY_KERNEL_ADMIN_ADDR")
        self.schedulers = [
            self._service("scheduler", "SCHEDULER_METRICS_ADDR", f"scheduler-{number}")
            for number in range(1, options.schedulers + 1)
        ]
        self.gateway = self._service("gateway", "GATEWAY_METRICS_ADDR")
        self.gateway.ready_url = f"{self.http_url}/health"
        self.workers: list[WorkerProcess] = []

    @property
    def http_url(self) -> str:
        """Base URL of the gateway."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def services(self) -> list[ServiceProcess]:
        """Every process of ours that this stack runs, kernel first."""
        return [self.kernel, *self.schedulers, *([self.gateway] if self.options.gateway else [])]

    def _write_files(self) -> None:
        options = self.options
        pools: dict[str, Any] = {pool: {} for pool in options.topics.values()}
        timeouts = {
            "dispatch_timeout_seconds": options.dispatch_timeout_s,
            "running_timeout_seconds": options.running_timeout_s,
            "scan_interval_seconds": options.scan_interval_s,
        }
        (self.folder / "safety.yaml").write_text(options.policy)
        # JSON is YAML.
        topics = dict(options.topics)
        (self.folder / "pools.yaml").write_bytes(orjson.dumps({"topics": topics, "pools": pools}))
        (self.folder / "timeouts.yaml").write_bytes(orjson.dumps({"reconciler": timeouts}))

    def _service(self, module: str, probe_variable: str, name: str = "") -> ServiceProcess:
        probe = f"127.0.0.1:{free_port()}"
        env = {
            "REDIS_URL": f"{self.redis.url}/0",
            "REDIS_CLUSTER_ADDRESSES": ",".join(self.redis.settings.cluster_addresses),
            "NATS_URL": self.nats.url,
            "NATS_JS_REPLICAS": str(len(self.nats.urls)),
            "NATS_JS_ACK_WAIT": f"{self.options.ack_wait_s}s",
            "SAFETY_KERNEL_ADDR": f"127.0.0.1:{self.kernel_port}",
            "SAFETY_POLICY_PATH": str(self.folder / "safety.yaml"),
            "SAFETY_POLICY_RELOAD_INTERVAL": "200ms",
            "POOL_CONFIG_PATH": str(self.folder / "pools.yaml"),
            "TIMEOUT_CONFIG_PATH": str(self.folder / "timeouts.yaml"),
            "WORKER_SNAPSHOT_INTERVAL": "500ms",
            "GATEWAY_HTTP_ADDR": f"127.0.0.1:{self.http_port}",
            "CORDUM_API_KEYS": orjson.dumps(_KEYS).decode(),
            probe_variable: probe,
            **self.options.environment,
        }
        return ServiceProcess(
            name or module, f"cordum.{module}.main", self.folder, env, f"http://{probe}/readyz"
        )

    def extra_scheduler(self, environment: Mapping[str, str], name: str = "extra") -> ServiceProcess:
        """Return one more scheduler, not started, with variables of its own."""
        extra = self._service("scheduler", "SCHEDULER_METRICS_ADDR", f"scheduler-{name}")
        extra.change_environment(environment)
        return extra

    async def start(self) -> None:
        """Start everything and wait until it is ready."""
        self.redis.start()
        self.nats.start()
        await self.redis.form()
        await self.nats.wait_formed()
        # A scheduler that asks in vain three times stops asking for half a minute.
        await self.kernel.start()
        others = self.services[1:]
        for service in others:
            service.launch()
        for service in others:
            await service.wait_ready()

    def stop(self) -> None:
        """End everything, workers first."""
        for worker in self.workers:
            worker.kill()
        for service in reversed(self.services):
            service.kill()
        self.nats.stop()
        self.redis.stop()

    async def worker(self, *topics: str, **options: Any) -> WorkerProcess:
        """Start a worker of this system; options as in `WorkerProcess`."""
        redis = ",".join(self.redis.settings.cluster_addresses) or f"{self.redis.url}/0"
        options = {"nats_url": self.nats.urls[0], **options}
        worker = WorkerProcess(self.folder, options.pop("nats_url"), redis, topics, **options)
        self.workers.append(worker)
        return await worker.start()

    async def wait_worker_known(self, *worker_ids: str, timeout_s: float = 60.0) -> None:
        """Wait until the workers are in the snapshot a scheduler shares."""
        async with self.store() as jobs:

            async def known() -> bool:
                raw = await jobs.client.execute("GET", "sys:workers:snapshot")
                workers = orjson.loads(raw)["workers"] if raw else []
                return set(worker_ids) <= {worker["worker_id"] for worker in workers}

            await wait_until(known, timeout_s=timeout_s)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[JobStore]:
        """Open the job store for the length of the block."""
        client = await RedisClient.open(self.redis.settings)
        try:
            yield await JobStore.open(client, StoreSettings())
        finally:
            await client.close()

    @asynccontextmanager
    async def http(self, key: str = API_KEY) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client of the gateway with an API key."""
        async with httpx.AsyncClient(
            base_url=f"{self.http_url}/api/v1", headers={"X-API-Key": key}, timeout=30
        ) as client:
            yield client


@asynccontextmanager
async def running_stack(folder: Path, options: StackOptions) -> AsyncIterator[Stack]:
    """Run a system for the length of a block; a failing block shows the ends of the logs."""
    stack = Stack(folder, options)
    try:
        await stack.start()
        yield stack
    except BaseException:
        for service in stack.services:
            print(f"--- {service.name}\n{service.tail(1_500)}")
        raise
    finally:
        stack.stop()
