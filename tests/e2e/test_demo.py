"""The demo of the README, as a stranger runs it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "examples/demo.py", "--burst", "200"]
STEPS = ("allowed job", "denied job", "held job", "cancelled job", "burst of 200 jobs")


def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the demo's files land below ``tmp_path`` and its table is wide."""
    return {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "120"}


def processes_below(directory: Path) -> list[list[str]]:
    """Return the command lines of live processes that name ``directory``."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if any(str(directory) in part for part in line):
            lines.append(line)
    return lines


@pytest.mark.slow
def test_demo_shows_every_verdict_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        DEMO, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=200
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = re.findall(r"^│ (.+?) +│ (.+?) +│ (.+?) +│ (\w+) +│$", ended.stdout, re.MULTILINE)
    assert [row for row in rows if row[1] != row[2] or row[3] != "yes"] == []
    shown = " ".join(row[0] for row in rows)
    assert [step for step in STEPS if step not in shown] == []
    assert ("allowed job: worker's result", "hello, governed world") in {row[:2] for row in rows}
    assert ("held job: own approval", "403 self_approval_denied") in {row[:2] for row in rows}
    assert re.search(r"^200 jobs in .* jobs/s", ended.stdout, re.MULTILINE)
    assert processes_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_interrupted_demo_stops_everything_it_started(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        DEMO, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        ready = wait_until(lambda: list(tmp_path.glob("*/data/endpoints.json")), timeout_s=90.0)
        asyncio.run(ready)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=90)
    finally:
        demo.kill()
    assert demo.returncode == 130, output.decode()
    assert b"interrupted" in output
    assert processes_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_demo_that_cannot_start_says_why_and_where_the_logs_are(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "cordum").mkdir(parents=True)
    (broken / "cordum" / "__init__.py").write_text("raise ImportError('broken on purpose')\n")
    env = {**environment(tmp_path), "PYTHONPATH": str(broken)}
    ended = subprocess.run(DEMO, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "the system did not start" in ended.stdout
    assert "broken on purpose" in ended.stdout
    logs = re.search(r"^logs: (\S+)", ended.stdout, re.MULTILINE)
    assert logs is not None
    assert (Path(logs[1]) / "cordumctl-up.log").is_file()
    assert processes_below(tmp_path / "cordum-demo") == []
