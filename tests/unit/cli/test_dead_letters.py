"""`cordumctl dlq …` and `status` against a small gateway of the test's own (CLI spec §6, §9)."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cordum.cli.dead_letters import short_reason
from cordum.cli.status import print_status
from tests.unit.cli.test_command_line import run

ENTRIES = [
    {
        "job_id": "a",
        "topic": "job.x",
        "reason": "timeout: dispatched exceeded (300s)",
        "reason_code": "timeout",
    },
    {
        "job_id": "b",
        "topic": "job.x",
        "reason": "timeout: dispatched exceeded (60s)",
        "reason_code": "timeout",
    },
    {"job_id": "c", "topic": "job.y", "reason": "safety: denied: no", "reason_code": "safety_denied"},
]


class FakeGateway(BaseHTTPRequestHandler):
    """Answers the dead-letter routes; ``bulk`` False stands for an older gateway."""

    bulk = True
    calls: list[tuple[str, str, Any]] = []  # noqa: RUF012 - one server per test

    def do_GET(self) -> None:
        if self.path.startswith("/api/v1/dlq/page"):
            first = "cursor" not in self.path
            items = ENTRIES[:2] if first else ENTRIES[2:]
            self._answer(200, {"items": items, "next_cursor": 5 if first else None})
        else:
            self._answer(404, {"error": "not found", "code": "not_found"})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size) or b"null")
        type(self).calls.append(("POST", self.path, body))
        if self.path in {"/api/v1/dlq/retry", "/api/v1/dlq/delete"}:
            if not self.bulk:
                self._answer(404, {"error": "not found"})
                return
            results = [{"job_id": i, "ok": i != "b", "error": "gone"} for i in body["job_ids"]]
            self._answer(200, {"results": results})
        else:
            self._answer(200, {"job_id": "a-retry-1"})

    def do_DELETE(self) -> None:
        type(self).calls.append(("DELETE", self.path, None))
        self._answer(204, None)

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output quiet."""


@contextmanager
def served(*, bulk: bool = True) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    handler = type("Handler", (FakeGateway,), {"bulk": bulk, "calls": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.calls  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def dlq(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run("dlq", *arguments, "--gateway", url)


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("timeout: dispatched exceeded (300s)", "timeout: dispatched exceeded"),
        ("safety: denied: not today", "safety: denied"),
        ("smtp 550", "smtp 550"),
        ("max retries exceeded (attempts=4, max_retries=3)", "max retries exceeded"),
        ("", "-"),
    ],
)
def test_reasons_group_by_what_their_kind_has_in_common(reason: str, short: str) -> None:
    assert short_reason(reason) == short


def test_groups_are_counted_over_all_pages() -> None:
    with served() as (url, _):
        done = dlq(url, "list", "--group-by", "reason")
    assert done.stdout.splitlines() == [
        "COUNT  REASON                        EXAMPLE JOB",
        "2      timeout: dispatched exceeded  a",
        "1      safety: denied                c",
    ]


def test_a_filter_narrows_the_list() -> None:
    with served() as (url, _):
        by_reason = dlq(url, "list", "--reason", "safety", "--json")
        by_topic = dlq(url, "list", "--topic", "job.x", "--json")
    assert [entry["job_id"] for entry in json.loads(by_reason.stdout)] == ["c"]
    assert [entry["job_id"] for entry in json.loads(by_topic.stdout)] == ["a", "b"]


@pytest.mark.parametrize("bulk", [True, False])
def test_jobs_of_a_kind_are_retried_together(bulk: bool) -> None:
    with served(bulk=bulk) as (url, calls):
        done = dlq(url, "retry", "--reason", "timeout: dispatched", "--yes")
    if bulk:
        assert calls == [("POST", "/api/v1/dlq/retry", {"job_ids": ["a", "b"]})]
        assert (done.returncode, done.stdout) == (1, "retried 1, failed 1\n")
        assert "b: gone" in done.stderr
    else:
        assert sorted(path for _, path, _ in calls[1:]) == ["/api/v1/dlq/a/retry", "/api/v1/dlq/b/retry"]
        assert (done.returncode, done.stdout) == (0, "retried 2, failed 0\n")


def test_a_bulk_command_asks_first_and_needs_a_filter() -> None:
    with served() as (url, calls):
        unsure = dlq(url, "delete", "--topic", "job.y")
        bare = dlq(url, "delete")
    assert (unsure.returncode, bare.returncode, calls) == (1, 1, [])
    assert "delete 1 entries?" in unsure.stderr
    assert "--reason" in bare.stderr


def test_one_job_is_retried_by_its_id() -> None:
    with served() as (url, _):
        done = dlq(url, "retry", "a")
    assert (done.returncode, done.stdout) == (0, "a-retry-1\n")


def test_the_state_of_the_control_plane_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    body = {
        "time": "2026-03-01T09:30:00Z",
        "uptime_seconds": 86_400,
        "build": {"version": "0.9.7", "commit": "ab12cd3", "date": "2026-02-20"},
        "nats": {"connected": True},
        "redis": {"ok": True},
        "workers": {"count": 3},
        "pipeline": {"pending": 0, "dispatched": 1, "running": 2, "succeeded": 9, "failed": 1, "denied": 4},
        "license": {"tier": "team", "expires_at": "2027-01-01T00:00:00Z"},
        "circuit_breakers": {"input": {"state": "CLOSED"}, "output": {"state": "OPEN"}},
    }
    usage = {
        "usage": {
            "workers": {"current": 2, "allowed": 500, "details": {"registered": 2, "connected": 2}},
            "schemas": {"current": 5, "allowed": -1},
        }
    }
    print_status("https://localhost:8081", body, usage)
    assert capsys.readouterr().out.splitlines() == [
        "Gateway   https://localhost:8081",
        "Build     0.9.7 (ab12cd3, 2026-02-20)",
        "Time      2026-03-01T09:30:00Z   Uptime 1d 0h",
        "Workers   3",
        "NATS      connected",
        "Redis     ok",
        "Pipeline  pending 0  dispatched 1  running 2  failed 1  denied 4",
        "Breakers  input CLOSED  output OPEN",
        "Tier      team   Expires 2027-01-01 (306 days)",
        "",
        "METRIC   CURRENT  LIMIT      DETAILS",
        "workers  2        500        registered 2, connected 2",
        "schemas  5        unlimited  -",
    ]
