"""A scheduler that cannot start says why (scheduler spec §23.1, §25)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import free_port


@pytest.mark.parametrize(
    ("pools", "timeouts", "env", "told"),
    [
        (None, None, {}, "pools.yaml"),
        ("topics: {}", None, {}, "topics"),
        ("topics: {job.a: p}\npools: {p: {status: paused}}", None, {}, "pools.p.status"),
        ("topics: {job.a: p}", "reconciler: {scan: 3}", {"CORDUM_ENV": "production"}, "reconciler.scan"),
    ],
)
def test_a_wrong_file_ends_the_process_before_it_waits_for_anybody(
    tmp_path: Path, pools: str | None, timeouts: str | None, env: dict[str, str], told: str
) -> None:
    for name, text in (("pools", pools), ("timeouts", timeouts)):
        if text is not None:
            (tmp_path / f"{name}.yaml").write_text(text)
    nobody = f"127.0.0.1:{free_port()}"
    settings = {
        "PATH": os.environ["PATH"],
        "POOL_CONFIG_PATH": str(tmp_path / "pools.yaml"),
        "TIMEOUT_CONFIG_PATH": str(tmp_path / "timeouts.yaml"),
        "REDIS_URL": f"redis://{nobody}",
        "NATS_URL": f"nats://{nobody}",
        "SCHEDULER_METRICS_ADDR": f"127.0.0.1:{free_port()}",
        **env,
    }
    command = [sys.executable, "-P", "-m", "cordum.scheduler.main"]
    ended = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=25)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "waiting for dependency" not in ended.stderr + ended.stdout
