"""`cordumctl up` refuses to start with one clear line each."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cordum.embedded.layout import DEFAULT_FILES, DataDir

ROOT = Path(__file__).resolve().parents[3]
FREE = ("--port", "0", "--nats-port", "0", "--redis-port", "0", "--kernel-port", "0")


def up(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `cordumctl up` and return what it said."""
    command = [sys.executable, "-m", "cordum.cli.main", "up", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **env}
    )


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--port", "gateway"),
        ("--nats-port", "nats-server"),
        ("--redis-port", "redis-server"),
        ("--kernel-port", "safety kernel"),
    ],
)
def test_a_taken_port_is_named(tmp_path: Path, option: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = up("--data-dir", str(tmp_path / "data"), *FREE, option, str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"error: port {port} for the {name} is already in use "
        f"(stop what uses it, or pass {option} PORT (0 picks a free one))\n"
    )
    assert done.stdout == ""


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = up("--data-dir", str(tmp_path / "file" / "data"), *FREE)
    assert done.returncode == 1
    assert "is not writable: not a directory (choose another one with --data-dir)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_start_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with DataDir(tmp_path / "data").locked():
        done = up("--data-dir", str(tmp_path / "data"), *FREE)
    assert done.returncode == 1
    assert f"is in use by another cordumctl up (process {os.getpid()})" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_policy_file_is_named(tmp_path: Path) -> None:
    done = up("--data-dir", str(tmp_path / "data"), *FREE, "--policy", "no-such.yaml")
    assert (done.returncode, done.stderr) == (1, "error: no such file: `no-such.yaml` (check --policy)\n")


def test_a_missing_server_is_named_with_the_remedy(tmp_path: Path) -> None:
    # An interpreter without the embedded extra: the package alone, nothing on PATH.
    program = (
        "import sys, sysconfig, importlib.util as u, importlib.machinery as m\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "from cordum.embedded import servers\n"
        "from cordum.domain.errors import ConfigError\n"
        "try:\n    servers.find_redis_server()\n"
        "except ConfigError as e:\n    print(e.message, '|', e.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "python")},
    )
    assert done.stdout == (
        "redis-server is missing: not on PATH and not in this Python environment | "
        "install redis-server, or run: pip install 'cordum[embedded]'\n"
    )


def test_keys_are_generated_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    keys, is_new = data.load_keys()
    assert is_new
    assert data.load_keys() == (keys, False)
    assert set(keys) == {"admin", "approver"}
    assert all(len(key) == 64 for key in keys.values())
    assert stat.S_IMODE(data.keys_path.stat().st_mode) == 0o600


def test_a_users_policy_survives_the_next_start(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.copy_defaults()
    (tmp_path / "safety.yaml").write_text("mine")
    data.copy_defaults()
    assert (tmp_path / "safety.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", DEFAULT_FILES)
def test_packaged_defaults_equal_the_files_in_config(name: str) -> None:
    shipped = (ROOT / "config" / name).read_bytes()
    assert (ROOT / "python" / "cordum" / "embedded" / "defaults" / name).read_bytes() == shipped
    assert isinstance(yaml.safe_load(shipped), dict)
