"""What the numbers were measured on, and how busy the machine was with other work."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from cordum import _core
from cordum.embedded.servers import find_nats_server, find_redis_server

__all__ = ["CLOCK_TICK_US", "describe", "machine_us"]

CLOCK_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PACKAGES = ("cordum", "redis", "hiredis", "nats-py", "grpcio", "uvloop", "httptools", "fastapi", "uvicorn")


def describe() -> dict[str, str]:
    """Return machine and versions for the head of the report."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory_bytes / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "native core": f"{_core.__version__} ({_core.build_profile})",
        "redis-server": _first_line([str(find_redis_server()), "--version"]),
        "nats-server": _first_line([str(find_nats_server()), "--version"]),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    }


def machine_us() -> tuple[int, int]:
    """Return the CPU time of all processes so far, and the time cores had nothing to do but wait for the disk.

    Both in microseconds, summed over the cores of the machine.
    """
    first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    user, nice, system, _idle, disk, irq, soft_irq, *_ = (int(word) for word in first.split()[1:])
    return (user + nice + system + irq + soft_irq) * CLOCK_TICK_US, disk * CLOCK_TICK_US


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return (done.stdout or done.stderr).strip().splitlines()[0]
