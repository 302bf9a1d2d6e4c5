"""The curl walk-through of the README, line by line as printed."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import end_process, wait_until

ROOT = Path(__file__).resolve().parents[2]
PORTS = ["--port", "0", "--nats-port", "0", "--redis-port", "0", "--kernel-port", "0"]


def walk_through() -> list[str]:
    """Return the commands of the README's curl section without their comments."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Ten lines of curl")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return [re.sub(r"\s+# .*$", "", line) for line in block[1].splitlines()]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run the system and the worker below ``tmp_path``; yield the shell variables of the README."""
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "cordum.cli.main", "up", *PORTS], cwd=tmp_path, stdout=log, stderr=log
        )
    data = tmp_path / ".cordum"
    try:
        asyncio.run(wait_until(lambda: (data / "endpoints.json").is_file(), timeout_s=45.0))
        keys = json.loads((data / "keys.json").read_text(encoding="utf-8"))
        url = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))["http"]
        yield {"URL": url, "KEY": keys["admin"], "APPROVER": keys["approver"]}
    finally:
        end_process(up, grace_s=30.0)


class Shell:
    """Runs lines of the README with its variables and the `submit` function set."""

    def __init__(self, variables: dict[str, str], function: str) -> None:
        self._variables = variables
        self._function = function

    def run(self, line: str) -> dict[str, object]:
        """Run one line and return the JSON it prints."""
        ended = subprocess.run(
            ["bash", "-c", f"{self._function}\n{line}"],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", **self._variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return dict(json.loads(ended.stdout))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the walk-through needs curl")
@pytest.mark.slow
def test_curl_walk_through_of_the_readme_works_as_printed(system: dict[str, str], tmp_path: Path) -> None:
    export, worker, function, echo, detail, blocked, review, approvals, approve, dlq = walk_through()
    assert export.startswith("export URL=http://127.0.0.1:8081 ")
    assert worker == ".venv/bin/python examples/worker.py &"
    shell = Shell(system, function)
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "worker.py")], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        job_id = str(shell.run(echo)["job_id"])
        done = _until(shell, detail.replace("<job_id>", job_id), "SUCCEEDED")
        assert done["result"] == {"echo": "hello", "job_id": job_id}
        assert shell.run(blocked)["code"] == "policy_denied"
        held = shell.run(review)
        assert held["status"] == "approval_required"
        assert str(held["job_id"]) in json.dumps(shell.run(approvals))
        shell.run(approve.replace("<job_id>", str(held["job_id"])))
        _until(shell, detail.replace("<job_id>", str(held["job_id"])), "SUCCEEDED")
        assert "job.demo.blocked" in json.dumps(shell.run(dlq))
    finally:
        end_process(process)


def _until(shell: Shell, line: str, state: str) -> dict[str, object]:
    """Repeat ``line`` until the job it shows is in ``state``; return the job."""
    shown: dict[str, object] = {}

    def is_there() -> bool:
        shown.update(shell.run(line))
        return shown["state"] == state

    asyncio.run(wait_until(is_there, timeout_s=20.0, interval_s=0.1))
    return shown
