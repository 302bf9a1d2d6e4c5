"""The command line itself: option order, usage errors, error lines. No gateway is needed."""

import os
import subprocess
import sys

import pytest

from cordum import __version__
from cordum.cli.connection import describe
from cordum.cli.main import arrange
from tests.support.processes import free_port


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `cordumctl` with no inherited connection settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CORDUM_")}
    command = [sys.executable, "-m", "cordum.cli.main", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**clean, "COLUMNS": "100", **env},
    )


def test_version_is_printed() -> None:
    done = run("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cordumctl {__version__}\n", "")


def test_no_command_is_a_usage_error() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: cordumctl")


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["job", "--help"], ["help", "dlq", "list"]])
def test_help_goes_to_stdout(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: cordumctl" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["job", "get"], ["job", "list", "--sate", "X"], ["approval", "job", "j1"]]
)
def test_a_wrong_command_line_exits_1(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["topic", "create"], "usage: cordumctl topic create <name> --pool <pool> …"),
        (["topic", "create", "a", "b"], "usage: cordumctl topic create <name> --pool <pool> …"),
        (["job", "get"], "usage: cordumctl job get <job_id>"),
        (["policy", "lint"], "usage: cordumctl policy lint <files>... …"),
        (
            ["job", "list", "--sate", "X"],
            "error: cordumctl job list: unknown option `--sate`: the nearest known one is `--state`",
        ),
        (["topic", "make"], "usage: cordumctl topic create|delete|list ...; see cordumctl topic --help"),
        (["status", "--timeout", "soon"], "error: cordumctl: Invalid value for '--timeout'"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments: list[str], line: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_group_without_a_command_shows_its_usage_on_stderr() -> None:
    done = run("topic")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Usage: cordumctl topic")


def test_an_unreachable_gateway_is_named_with_a_hint() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("dlq", "delete", "j1", "--gateway", url)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot reach {url}: connection refused: is the stack up? cordumctl up\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["job", "list", "--json"], ["--json", "job", "list"]),
        (["job", "--gateway", "u", "list"], ["--gateway", "u", "job", "list"]),
        (["job", "list", "-tenant=t"], ["--tenant=t", "job", "list"]),
        (["job", "get", "--", "--json"], ["job", "get", "--", "--json"]),
        (["job", "list", "-o", "yaml"], ["--output", "yaml", "job", "list"]),
        (["job", "list", "-o=id", "--no-headers"], ["--output=id", "--no-headers", "job", "list"]),
        (["job", "list", "--timeout", "3"], ["--timeout", "3", "job", "list"]),
        # Of this command it is an option of its own.
        (["pool", "drain", "p", "--timeout", "3"], ["pool", "drain", "p", "--timeout", "3"]),
    ],
)
def test_options_of_every_command_may_stand_anywhere(arguments: list[str], expected: list[str]) -> None:
    assert arrange(arguments) == expected


def test_an_error_line_has_a_stable_part_and_never_the_key() -> None:
    body = {"error": "bad key sesame", "code": "unauthorized", "request_id": "9f2c41d0"}
    line = describe(401, body, "sesame")
    assert line == "status 401: bad key [redacted] (code unauthorized, request 9f2c41d0)"
    assert describe(502, None) == "status 502: request failed"
    named = {"error": "expected a text", "field": "meta.pack_id"}
    assert describe(400, named) == "status 400: meta.pack_id: expected a text"
    assert describe(400, {"error": "topic is required", "field": "topic"}) == "status 400: topic is required"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_timeout_that_is_no_time_is_named(text: str) -> None:
    done = run("job", "list", CORDUM_TIMEOUT=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: CORDUM_TIMEOUT: expected seconds above 0, got `{text}`\n"
