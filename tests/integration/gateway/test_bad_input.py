"""Bad input: the documented status and envelope code, and nothing written."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.gateway import GatewayProcess, key_of

Person = Callable[..., httpx.AsyncClient]
Snapshot = Callable[[], Awaitable[dict[str, Any]]]

SUBMITS = [
    ("no body", b"", 400, "invalid_json"),
    ("cut JSON", b'{"prompt":"p"', 400, "invalid_json"),
    ("not an object", b'["p"]', 400, "invalid_json"),
    ("not UTF-8", b'{"prompt":"\xff"}', 400, "invalid_json"),
    ("too deep", b'{"prompt":"p","context":' + b"[" * 80 + b"]" * 80 + b"}", 400, "invalid_json"),
    ("no prompt", b"{}", 400, "prompt_is_required"),
    (
        "foreign subject as topic",
        b'{"prompt":"p","topic":"sys.job.submit"}',
        400,
        "topic_must_look_like_job_name_with_letters_digits_dots_dashes_and_underscores",
    ),
    ("wildcard topic", b'{"prompt":"p","topic":"job.*"}', 400, None),
    ("long topic", json.dumps({"prompt": "p", "topic": "job." + "a" * 300}).encode(), 400, None),
    (
        "control character in topic",
        b'{"prompt":"p","topic":"job.a\\u0000"}',
        400,
        "topic_must_not_contain_control_characters",
    ),
    (
        "control character in prompt",
        b'{"prompt":"a\\u0007"}',
        400,
        "prompt_must_not_contain_control_characters",
    ),
    (
        "control character in a label",
        b'{"prompt":"p","labels":{"a":"b\\n"}}',
        400,
        "labels_must_not_contain_control_characters",
    ),
    (
        "too many labels",
        json.dumps({"prompt": "p", "labels": {f"k{n}": "v" for n in range(51)}}).encode(),
        400,
        "too_many_labels_at_most_50",
    ),
    ("long label", json.dumps({"prompt": "p", "labels": {"k": "v" * 5000}}).encode(), 400, None),
    ("reserved label", b'{"prompt":"p","labels":{"_governance.x":"1"}}', 400, "labels_use_a_reserved_prefix"),
    ("foreign tenant", b'{"prompt":"p","tenant_id":"globex"}', 403, "tenant_access_denied"),
    ("long prompt", json.dumps({"prompt": "p" * 50_001}).encode(), 413, "payload_too_large"),
    ("large body", b'{"prompt":"' + b"p" * (2 << 20) + b'"}', 413, "payload_too_large"),
    (
        "context grows over the limit",
        b'{"prompt":"p","context":"' + b"c" * ((2 << 20) - 40) + b'"}',
        413,
        "payload_too_large",
    ),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), [case[1:] for case in SUBMITS], ids=[case[0] for case in SUBMITS]
)
async def test_a_bad_submission_is_refused_and_writes_nothing(
    as_person: Person, snapshot: Snapshot, body: bytes, status: int, code: str | None
) -> None:
    before = await snapshot()
    answer = await as_person("alice").post("/jobs", content=body)
    assert_refused(answer, status, code)
    assert await snapshot() == before


async def test_a_body_in_pieces_without_length_is_cut_at_the_limit(
    as_person: Person, snapshot: Snapshot
) -> None:
    async def pieces() -> Any:
        for _ in range(60):
            yield b"x" * 65_536

    before = await snapshot()
    assert_refused(await as_person("alice").post("/jobs", content=pieces()), 413, "payload_too_large")
    assert await snapshot() == before


CALLS = [
    ("GET", "/jobs/unknown", 404, "job_not_found"),
    ("GET", "/jobs/unknown/decisions", 404, "job_not_found"),
    ("POST", "/jobs/unknown/cancel", 404, "job_not_found"),
    ("GET", "/jobs/unknown/stream", 404, "job_not_found"),
    ("GET", "/traces/unknown", 404, "trace_not_found"),
    ("POST", "/approvals/unknown/approve", 404, "approval_not_found"),
    ("POST", "/approvals/unknown/reject", 404, "approval_not_found"),
    ("GET", "/dlq/unknown", 404, "dlq_entry_not_found"),
    ("POST", "/dlq/unknown/retry", 404, "dlq_entry_not_found"),
    ("DELETE", "/dlq/unknown", 404, "dlq_entry_not_found"),
    ("GET", "/workers/unknown", 404, "WORKER_NOT_FOUND"),
    ("GET", "/jobs?state=LOST", 400, "unknown_state"),
    ("GET", "/jobs?cursor=x", 400, "invalid_cursor"),
    ("GET", "/jobs?updated_after=soon", 400, "invalid_updated_after"),
    ("GET", "/jobs?tenant=globex", 403, "tenant_access_denied"),
    ("GET", "/nothing", 404, "not_found"),
    ("PATCH", "/jobs", 405, "method_not_allowed"),
    ("GET", "/stream", 426, "upgrade_required"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), CALLS)
async def test_a_bad_call_has_its_code_and_writes_nothing(
    as_person: Person, snapshot: Snapshot, method: str, path: str, status: int, code: str
) -> None:
    before = await snapshot()
    answer = await as_person("alice").request(method, path)
    assert_refused(answer, status, code)
    assert await snapshot() == before
    if status == 405:
        assert answer.headers["allow"] == "GET, HEAD, POST" or answer.headers["allow"] == "GET, POST"


CREDENTIALS: list[tuple[str, dict[str, str], int, str]] = [
    ("none", {}, 401, "unauthorized"),
    ("unknown key", {"X-API-Key": "nope"}, 401, "unauthorized"),
    ("expired key", {"X-API-Key": key_of("late")}, 401, "unauthorized"),
    ("unknown bearer", {"Authorization": "Bearer nope"}, 401, "unauthorized"),
    (
        "a bad bearer is not skipped for a good key",
        {"Authorization": "Bearer x", "X-API-Key": key_of("alice")},
        401,
        "unauthorized",
    ),
    ("basic", {"Authorization": "Basic YTpi"}, 401, "unauthorized"),
    ("foreign tenant", {"X-API-Key": key_of("alice"), "X-Tenant-ID": "globex"}, 403, "tenant_access_denied"),
    (
        "alias header",
        {"X-API-Key": key_of("alice"), "X-Cordum-Tenant": "globex"},
        403,
        "tenant_access_denied",
    ),
    ("viewer", {"X-API-Key": key_of("vera")}, 403, "access_denied"),
    ("unknown role", {"X-API-Key": key_of("nobody")}, 403, "access_denied"),
    (
        "foreign origin",
        {"X-API-Key": key_of("alice"), "Origin": "https://evil.example"},
        403,
        "origin_not_allowed",
    ),
]


@pytest.mark.parametrize(
    ("headers", "status", "code"), [c[1:] for c in CREDENTIALS], ids=[c[0] for c in CREDENTIALS]
)
async def test_a_bad_credential_submits_nothing(
    gateway: GatewayProcess, snapshot: Snapshot, headers: dict[str, str], status: int, code: str
) -> None:
    before = await snapshot()
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as caller:
        assert_refused(await caller.post("/api/v1/jobs", content=b'{"prompt":"p"}'), status, code)
    assert await snapshot() == before


async def test_unknown_paths_need_a_credential_too(gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as caller:
        for path in ("/nothing", "/api/v1/nothing", "/openapi.json", "/api/v1/health"):
            assert_refused(await caller.get(path), 401, "unauthorized")
        for path in ("/health", "/livez", "/healthz", "/readyz"):
            assert (await caller.get(path)).status_code == 200


@pytest.mark.parametrize(
    "body", [b"{}", b'{"jobs":[]}', b'{"jobs":{}}', b"[]", b'{"jobs":[1' + b",1" * 500 + b"]}"]
)
async def test_a_bad_batch_is_refused_whole(as_person: Person, snapshot: Snapshot, body: bytes) -> None:
    before = await snapshot()
    assert_refused(await as_person("alice").post("/jobs/batch", content=body), 400, None)
    assert await snapshot() == before


def assert_refused(answer: httpx.Response, status: int, code: str | None) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["status"] == status
    assert isinstance(body["error"], str)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert code is None or body["code"] == code
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status in {429, 503}:
        assert int(answer.headers["retry-after"]) >= 1
