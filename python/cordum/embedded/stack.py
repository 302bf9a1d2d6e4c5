"""Which processes make up the embedded system: ports, environment, probes."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cordum.domain.errors import ConfigError, Unavailable
from cordum.embedded import servers
from cordum.embedded.layout import DataDir, gateway_keys
from cordum.embedded.probes import free_port, http_ok, is_free, nats_ready, redis_ready
from cordum.embedded.servers import LOOPBACK
from cordum.embedded.supervisor import ChildSpec

__all__ = ["Options", "Ports", "choose_ports", "server_specs", "service_specs"]

# Variables that point at somebody else's servers or keys must not leak into the embedded services.
_FOREIGN_PREFIXES: Final = (
    "REDIS_",
    "NATS_",
    "CORDUM_API_KEY",
    "SAFETY_KERNEL_",
    "SCHEDULER_METRICS",
    "GATEWAY_",
)
_FOREIGN_NAMES: Final = frozenset({"API_KEY", "CORDUM_INSTANCE_ID", "CORDUM_HEALTH_ADDR"})
_METRICS_DEFAULTS: Final = {"gateway": 9092, "scheduler": 9090, "kernel": 9095}


@dataclass(frozen=True, slots=True)
class Options:
    """What `cordumctl up` was asked for. Port 0 means any free one."""

    data_dir: Path = Path(".cordum")
    port: int = 8081
    nats_port: int = 4222
    redis_port: int = 6379
    kernel_port: int = 50051
    policy: Path | None = None
    pools: Path | None = None
    schedulers: int = 1


@dataclass(slots=True)
class Ports:
    """The ports in use; ``metrics`` per process name."""

    http: int
    nats: int
    redis: int
    kernel: int
    metrics: dict[str, int] = field(default_factory=dict)

    def endpoints(self) -> dict[str, Any]:
        """Return the addresses to publish."""
        return {
            "http": f"http://{LOOPBACK}:{self.http}",
            "nats": f"nats://{LOOPBACK}:{self.nats}",
            "redis": f"redis://{LOOPBACK}:{self.redis}/0",
            "kernel": f"{LOOPBACK}:{self.kernel}",
            "metrics": {name: f"http://{LOOPBACK}:{port}" for name, port in self.metrics.items()},
        }


def scheduler_names(options: Options) -> list[str]:
    """Return the process names of the scheduler replicas."""
    return ["scheduler", *(f"scheduler-{number}" for number in range(2, options.schedulers + 1))]


def choose_ports(options: Options) -> Ports:
    """Settle all ports. Raises Unavailable naming the first taken one and its option.

    Metrics ports move to a free one when their documented default is taken; nobody was promised them.
    """
    wanted = {
        "gateway": ("--port", options.port),
        "nats-server": ("--nats-port", options.nats_port),
        "redis-server": ("--redis-port", options.redis_port),
        "safety kernel": ("--kernel-port", options.kernel_port),
    }
    taken = {port for _, port in wanted.values() if port}
    chosen: list[int] = []
    for name, (option, port) in wanted.items():
        if port and not is_free(port):
            raise Unavailable(
                f"port {port} for the {name} is already in use",
                code="port_in_use",
                hint=f"stop what uses it, or pass {option} PORT (0 picks a free one)",
            )
        chosen.append(port or free_port(taken))
    if len(set(chosen)) != len(chosen):
        raise ConfigError(
            "the same port was given twice", hint="--port, --nats-port, --redis-port, --kernel-port"
        )
    http, nats, redis, kernel = chosen
    ports = Ports(http, nats, redis, kernel)
    for name in ("gateway", "kernel", *scheduler_names(options)):
        default = _METRICS_DEFAULTS.get(name, 0)
        usable = options.port != 0 and default and default not in taken and is_free(default)
        ports.metrics[name] = default if usable else free_port(taken)
        taken.add(ports.metrics[name])
    return ports


def server_specs(data: DataDir, ports: Ports) -> tuple[ChildSpec, ChildSpec]:
    """Return Redis and NATS. Raises ConfigError when a binary is missing."""
    redis_binary, nats_binary = servers.find_redis_server(), servers.find_nats_server()
    redis_config = servers.write_redis_config(data.root / "redis", ports.redis)
    nats_config = servers.write_nats_config(data.root / "nats", ports.nats)
    redis = ChildSpec(
        name="redis",
        argv=(str(redis_binary), str(redis_config)),
        env=os.environ,
        log_path=data.log_path("redis"),
        probe=lambda: redis_ready(ports.redis),
        death_signal=signal.SIGTERM,
    )
    nats = ChildSpec(
        name="nats",
        argv=(str(nats_binary), "--config", str(nats_config)),
        env=os.environ,
        log_path=data.log_path("nats"),
        probe=lambda: nats_ready(ports.nats),
        death_signal=signal.SIGTERM,
    )
    return redis, nats


def service_specs(options: Options, data: DataDir, ports: Ports, keys: Mapping[str, str]) -> list[ChildSpec]:
    """Return kernel, schedulers and gateway. Raises ConfigError when a given file does not exist."""
    shared = _service_environment(options, data, ports)
    kernel_env = {**shared, "SAFETY_KERNEL_ADMIN_ADDR": _loopback(ports.metrics["kernel"])}
    specs = [_service("kernel", "kernel", kernel_env, data, ports.metrics["kernel"], "/readyz")]
    for name in scheduler_names(options):
        metrics = ports.metrics[name]
        env = {**shared, "SCHEDULER_METRICS_ADDR": _loopback(metrics)}
        specs.append(_service(name, "scheduler", env, data, metrics, "/readyz"))
    gateway_env = {
        **shared,
        "GATEWAY_HTTP_ADDR": _loopback(ports.http),
        "GATEWAY_METRICS_ADDR": _loopback(ports.metrics["gateway"]),
        "CORDUM_API_KEYS": gateway_keys(keys),
    }
    specs.append(_service("gateway", "gateway", gateway_env, data, ports.http, "/health"))
    return specs


def _service(
    name: str, module: str, env: Mapping[str, str], data: DataDir, port: int, path: str
) -> ChildSpec:
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-P", "-m", f"cordum.{module}.main"),
        env=env,
        log_path=data.log_path(name),
        probe=lambda: http_ok(port, path),
    )


def _service_environment(options: Options, data: DataDir, ports: Ports) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN_PREFIXES) and name not in _FOREIGN_NAMES
    }
    return {
        # As shipped; off in code, so that a bare scheduler asks nobody about outputs.
        "OUTPUT_POLICY_ENABLED": "true",
        **inherited,
        "REDIS_URL": f"redis://{LOOPBACK}:{ports.redis}/0",
        "NATS_URL": f"nats://{LOOPBACK}:{ports.nats}",
        "SAFETY_KERNEL_ADDR": _loopback(ports.kernel),
        "SAFETY_POLICY_PATH": _file(options.policy, data.root / "safety.yaml", "--policy"),
        "OUTPUT_SCANNERS_PATH": str(data.root / "output_scanners.yaml"),
        "POOL_CONFIG_PATH": _file(options.pools, data.root / "pools.yaml", "--pools"),
        "TIMEOUT_CONFIG_PATH": str(data.root / "timeouts.yaml"),
    }


def _file(given: Path | None, default: Path, option: str) -> str:
    if given is None:
        return str(default)
    if not given.is_file():
        raise ConfigError(f"no such file: `{given}`", hint=f"check {option}")
    return str(given.resolve())


def _loopback(port: int) -> str:
    return f"{LOOPBACK}:{port}"
