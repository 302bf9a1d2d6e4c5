"""Logs: shape of a line, and nothing secret in it."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordum.runtime.masking import is_secret_key, mask_mapping, mask_text, may_hold_secret

# Assembled at run time, so that the repository holds nothing with the shape of a token.
MANAGED_KEY = "ck" + "_" + "a1b2c3d4e5f6g7h8"
SESSION = "session" + "-" + "0123456789abcdef"
JWT = ".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJ4In0", "c2lnbmF0dXJl"])


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_password",
        "apiKey",
        "API-KEY",
        "X-Api-Key",
        "token",
        "Authorization",
        "privateKey",
        "setCookie",
    ],
)
def test_an_attribute_named_like_a_secret_is_masked(key: str) -> None:
    assert is_secret_key(key)
    assert mask_mapping({key: "value"}) == {key: "[REDACTED]"}


@pytest.mark.parametrize(
    "key", ["auth_source", "token_count", "secret_id", "session_ttl", "monkey", "tokenizer", "key"]
)
def test_an_attribute_that_only_sounds_secret_survives(key: str) -> None:
    assert mask_mapping({key: "value"}) == {key: "value"}


@pytest.mark.parametrize("secret", [MANAGED_KEY, SESSION, JWT, "Bearer " + "abcdef123456"])
def test_a_value_with_the_shape_of_a_secret_is_masked_anywhere(secret: str) -> None:
    masked = json.dumps(mask_mapping({"note": f"got {secret} here", "deep": [{"x": secret}]}))
    assert secret not in masked
    assert masked.count("[REDACTED]") == 2


def test_a_password_inside_a_url_is_masked() -> None:
    assert mask_text("redis://user:pa55@host:6379/0") == "redis://***@host:6379/0"
    assert mask_text("see http://host/a@b") == "see http://host/a@b"


def test_a_private_key_block_is_masked() -> None:
    block = "-----BEGIN " + "PRIVATE KEY-----\nabc\n-----END " + "PRIVATE KEY-----"
    assert mask_text(f"x {block} y") == "x [REDACTED] y"


_PROGRAM = """
import logging
from structlog.contextvars import bound_contextvars
from cordum.runtime.logs import configure_logging, get_logger
configure_logging("cordum-test", "info", "{output}")
log = get_logger()
log.debug("hidden")
with bound_contextvars(job_id="j1", trace_id="t1"):
    log.info("hello", n=1, password="p", obj=object)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
logging.getLogger("lib").warning("library %s", "speaks")
"""


def _output(output: str) -> list[str]:
    program = _PROGRAM.format(output=output)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_each_log_line_is_one_json_object_with_the_leading_fields() -> None:
    lines = [json.loads(line) for line in _output("json")]
    first = lines[0]
    assert list(first)[:6] == ["time", "level", "service", "msg", "trace_id", "job_id"]
    assert first["time"].endswith("Z")
    assert (first["level"], first["service"], first["msg"]) == ("info", "cordum-test", "hello")
    assert (first["job_id"], first["trace_id"], first["n"], first["password"]) == (
        "j1",
        "t1",
        1,
        "[REDACTED]",
    )
    assert lines[1]["level"] == "error"
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert lines[2] | {"time": ""} == {
        "time": "",
        "level": "warn",
        "service": "cordum-test",
        "msg": "library speaks",
        "logger": "lib",
    }


def test_text_format_is_for_people() -> None:
    first = _output("text")[0]
    assert "INFO  cordum-test hello trace_id=t1 job_id=j1 n=1 password=[REDACTED]" in first


@given(st.text(alphabet="abekrs_-?&=:/@.123 \nBEARYJ", max_size=60))
def test_what_is_masked_is_never_overlooked_beforehand(text: str) -> None:
    for candidate in (
        text,
        text + MANAGED_KEY,
        SESSION + text,
        text + "Bearer abcdef123456",
        f"x?key={text}",
    ):
        assert mask_text(candidate) == candidate or may_hold_secret(candidate)


_MANY = """
from cordum.runtime.logs import configure_logging, get_logger, log_many
configure_logging("cordum-test", "{level}", "{output}")
events = [{{"job_id": "j1", "topic": "job.a", "n": 1}}, {{"job_id": "j2", "topic": "{secret}", "n": 2}}]
log_many("many", events)
log_many("clean", events[:1])
for event in events:
    get_logger().info("many", **event)
"""


def _many(level: str, output: str) -> list[str]:
    program = _MANY.format(level=level, output=output, secret=MANAGED_KEY)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_lines_written_together_are_those_written_one_by_one() -> None:
    lines = [{**json.loads(line), "time": ""} for line in _many("info", "json")]
    assert lines[:2] == lines[3:]
    assert [(line["msg"], line["topic"]) for line in lines[:3]] == [
        ("many", "job.a"),
        ("many", "[REDACTED]"),
        ("clean", "job.a"),
    ]
    assert len(_many("info", "text")) == 5
    assert _many("warn", "json") == []
