"""The frame in a real process: start, probes, signals, refusals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.processes import end_process, free_port, wait_until


class Sample:
    """The sample service as a child process."""

    def __init__(self, **env: str) -> None:
        self.port = free_port()
        settings = {"SAMPLE_METRICS_ADDR": f"127.0.0.1:{self.port}", "CORDUM_INSTANCE_ID": "pod-7", **env}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.runtime.sample_service"],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, timeout_s: float = 10.0) -> tuple[int, list[dict[str, Any]], str]:
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)

    async def started(self) -> None:
        def is_live() -> bool:
            try:
                return self.get("/livez").status_code == 200
            except httpx.TransportError:
                return False

        await wait_until(is_live)


@pytest.fixture
def samples() -> Iterator[list[Sample]]:
    running: list[Sample] = []
    yield running
    for sample in running:
        end_process(sample.process)


async def test_sigterm_drains_and_exits_0(samples: list[Sample]) -> None:
    sample = Sample()
    samples.append(sample)
    await sample.started()
    sample.process.send_signal(signal.SIGTERM)
    code, lines, err = sample.finish()
    messages = [line["msg"] for line in lines]
    assert (code, err) == (0, "")
    assert messages[0] == "mode"
    assert lines[0]["production"] is False
    assert messages[-3:] == ["stopping", "drained", "stopped"]


async def test_probes_and_metrics_have_their_shapes(samples: list[Sample]) -> None:
    sample = Sample()
    samples.append(sample)
    await sample.started()
    assert sample.get("/health").json() == {
        "redis": {"status": "ok"},
        "safety": {"status": "warn", "error": "no answer from redis://***@host"},
        "status": "ok",
    }
    assert sample.get("/healthz").json() == {"status": "ok", "checks": {"event_loop": "ok"}}
    assert sample.get("/readyz").json() == {"status": "ok", "checks": {"redis": "ok"}}
    assert sample.get("/livez").json() == {"status": "ok", "checks": {"startup": "complete"}}
    assert 'pod="pod-7"' in sample.get("/metrics").text


async def test_a_lost_dependency_degrades_readiness_but_not_liveness(samples: list[Sample]) -> None:
    sample = Sample(SAMPLE_MODE="degraded")
    samples.append(sample)
    await sample.started()
    assert [sample.get(path).status_code for path in ("/health", "/readyz", "/healthz", "/livez")] == [
        503,
        503,
        200,
        200,
    ]
    assert sample.get("/health").json()["status"] == "degraded"


async def test_the_failure_of_a_vital_task_ends_the_service_with_1(samples: list[Sample]) -> None:
    sample = Sample(SAMPLE_MODE="fail")
    samples.append(sample)
    code, lines, _err = sample.finish()
    assert code == 1
    failed = next(line for line in lines if line["msg"] == "task failed")
    assert failed["task"] == "broken"
    assert "task is broken" in failed["exception"]
    assert lines[-2]["msg"] == "drained"


async def test_a_second_signal_ends_a_hanging_drain(samples: list[Sample]) -> None:
    sample = Sample(SAMPLE_MODE="hang")
    samples.append(sample)
    await sample.started()
    sample.process.send_signal(signal.SIGTERM)
    await wait_until(lambda: sample.get("/readyz").json()["checks"].get("startup") == "stopping")
    sample.process.send_signal(signal.SIGTERM)
    code, _lines, _err = sample.finish()
    assert code == 128 + signal.SIGTERM


def test_a_dependency_that_is_missing_at_start_is_one_line_and_exit_1(samples: list[Sample]) -> None:
    sample = Sample(SAMPLE_MODE="refuse")
    samples.append(sample)
    code, lines, err = sample.finish()
    assert code == 1
    assert err == "cordum-sample: error: redis is not reachable: refused (is redis running?)\n"
    assert lines[-1]["msg"] == "start refused"


def test_bad_settings_are_all_reported_and_nothing_starts(samples: list[Sample]) -> None:
    sample = Sample(CORDUM_PRODUCTION="ture", SAMPLE_METRICS_PUBLIC="perhaps")
    samples.append(sample)
    code, lines, err = sample.finish()
    assert code == 1
    assert err.count("\n") == 2
    assert "CORDUM_PRODUCTION: expected `true` or `false`" in err
    assert "SAMPLE_METRICS_PUBLIC: expected `true` or `false`" in err
    assert "ture" not in err + json.dumps(lines)


async def test_a_taken_port_is_one_line_and_exit_1(samples: list[Sample]) -> None:
    first = Sample()
    samples.append(first)
    await first.started()
    second = Sample(SAMPLE_METRICS_ADDR=f"127.0.0.1:{first.port}")
    samples.append(second)
    code, _lines, err = second.finish()
    assert code == 1
    assert err == (
        f"cordum-sample: error: cannot listen on `127.0.0.1:{first.port}`: address already in use "
        "(choose another port)\n"
    )
