"""The data directory of the embedded mode: lock, editable defaults, API keys, endpoints."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from cordum.domain.errors import ConfigError, Conflict

__all__ = ["DEFAULT_FILES", "KEY_ROLES", "DataDir"]

DEFAULT_FILES: Final = ("safety.yaml", "output_scanners.yaml", "pools.yaml", "timeouts.yaml")
KEY_ROLES: Final = {"admin": "admin", "approver": "operator"}
"""Role per principal of the first keys: the second may approve what the first submitted (decision 47)."""


class DataDir:
    """One embedded system's files below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.shown = root
        self.keys_path = self.root / "keys.json"
        self.endpoints_path = self.root / "endpoints.json"

    def log_path(self, name: str) -> Path:
        """Return the file that holds the output of the process ``name``."""
        return self.root / "logs" / f"{name}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory and hold it for this process.

        Raises ConfigError when it cannot be written, Conflict when another `cordumctl up` holds it.
        """
        descriptor = self._open_pid_file()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                raise Conflict(
                    f"data directory `{self.shown}` is in use by another cordumctl up (process {holder})",
                    code="data_dir_in_use",
                    hint="stop it, or choose another directory with --data-dir",
                ) from None
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
            yield
        finally:
            # The file stays: removing it would let a third process lock a name nobody else sees.
            os.close(descriptor)

    def _open_pid_file(self) -> int:
        try:
            (self.root / "logs").mkdir(parents=True, exist_ok=True)
            return os.open(self.root / "up.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(
                f"data directory `{self.shown}` is not writable: {reason}",
                hint="choose another one with --data-dir",
            ) from error

    def copy_defaults(self) -> None:
        """Put the shipped policy, scanners, pools and timeouts there unless the user already has them."""
        source = files("cordum.embedded") / "defaults"
        for name in DEFAULT_FILES:
            target = self.root / name
            if not target.exists():
                target.write_bytes((source / name).read_bytes())

    def rotate_logs(self) -> None:
        """Start each log afresh; the one of the previous run stays as `<name>.log.1`."""
        for path in (self.root / "logs").glob("*.log"):
            path.replace(path.with_suffix(".log.1"))

    def load_keys(self) -> tuple[dict[str, str], bool]:
        """Return API key per principal and whether they were generated just now (file mode 0600)."""
        if self.keys_path.exists():
            try:
                stored = json.loads(self.keys_path.read_text(encoding="utf-8"))
                return {name: str(stored[name]) for name in KEY_ROLES}, False
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"`{self.keys_path}` is not a key file of this program",
                    hint="remove it to have new keys generated",
                ) from error
        keys = {name: secrets.token_hex(32) for name in KEY_ROLES}
        self._write(self.keys_path, keys, mode=0o600)
        return keys, True

    def write_endpoints(self, endpoints: Mapping[str, Any]) -> None:
        """Publish addresses and process ids; the file exists exactly while the system is ready."""
        self._write(self.endpoints_path, endpoints, mode=0o644)

    def clear_endpoints(self) -> None:
        """Remove the published addresses."""
        self.endpoints_path.unlink(missing_ok=True)

    def _write(self, path: Path, value: object, *, mode: int) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(json.dumps(value, indent=2) + "\n")
        temporary.replace(path)


def gateway_keys(keys: Mapping[str, str]) -> str:
    """Return the value of `CORDUM_API_KEYS` for these keys (security spec §3.1, JSON list)."""
    entries = [
        {"key": key, "tenant": "default", "role": KEY_ROLES[name], "principal_id": name}
        for name, key in keys.items()
    ]
    return json.dumps(entries, separators=(",", ":"))
