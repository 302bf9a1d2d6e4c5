"""Output rules, statistics, dry runs and reviews over HTTP (output policy spec §9, §11)."""

import json
import re
from typing import Any

import httpx
import orjson
import pytest

from cordum.runtime.clock import now_us
from cordum.store import keys
from cordum.store.blobs import BlobStore
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore
from cordum.store.output_stats import OutputCheckNote, note_commands
from tests.support.gateway import POLICY, GatewayProcess, client

LEGACY = """\
default_decision: ""
output_policy: {enabled: true, fail_mode: "", redaction: null}
output_rules:
  - id: stop
    description: null
    match: {topics: ["job.*"], scanners: [secret], detectors: [pii], has_error: null}
    decision: quarantine
    reason: no secrets
    velocity: {max_requests: 1}
  - id: quiet
    enabled: false
    severity: odd
    match: {content_patterns: ["no"]}
    decision: redact
"""
STACK_POLICY = POLICY + "output_rules: [{id: from-base, decision: redact, match: {keywords: [osprey]}}]\n"


async def put_bundle(http: httpx.AsyncClient, name: str, content: str, *, enabled: bool = True) -> None:
    answer = await http.put(
        f"/policy/bundles/{name.replace('/', '~')}", json={"content": content, "enabled": enabled}
    )
    assert answer.status_code == 200, answer.text


async def rules(http: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await http.get("/policy/output/rules", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_output_rules_are_listed_with_their_effective_values(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    await put_bundle(alice, "secops/output", LEGACY)
    await put_bundle(alice, "secops/unused", "output_rules: [{id: off, decision: deny}]", enabled=False)
    note = OutputCheckNote("acme", "j1", "QUARANTINE", "stop", 3, now_us())
    await redis.pipeline(note_commands([note]))
    body = await rules(alice)
    assert "errors" not in body
    assert [item["id"] for item in body["items"]] == ["from-base", "stop", "quiet"]
    stop, quiet = body["items"][1:]
    source = stop.pop("source")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stop.pop("last_triggered"))
    assert stop == {
        "id": "stop",
        "description": "",
        "topics": ["job.*"],
        "scanners": ["secret", "pii"],
        "patterns": [],
        "pattern_preview": "",
        "decision": "quarantine",
        "severity": "high",
        "reason": "no secrets",
        "enabled": True,
        "match": {"topics": ["job.*"], "scanners": ["secret"], "detectors": ["pii"]},
        "velocity": {"max_requests": 1},
        "trigger_count_24h": 1,
    }
    assert (source["fragment_id"], source["pack_id"], source["overlay_name"], source["tier"]) == (
        "secops/output",
        "secops",
        "output",
        "global",
    )
    assert "version" not in source
    assert (quiet["enabled"], quiet["severity"], quiet["pattern_preview"]) == (False, "high", "no")
    assert "trigger_count_24h" not in quiet
    everything = await rules(alice, include_disabled="true")
    assert [item["id"] for item in everything["items"]] == ["from-base", "stop", "quiet", "off"]


async def test_a_rule_of_a_bundle_with_legacy_nulls_is_switched(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    await put_bundle(alice, "secops/output", LEGACY)
    answer = await alice.put("/policy/output/rules/quiet", json={"enabled": True})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert {name: body[name] for name in ("id", "enabled", "bundle_id")} == {
        "id": "quiet",
        "enabled": True,
        "bundle_id": "secops/output",
    }
    assert body["updated_at"].endswith("Z")
    items = {item["id"]: item for item in (await rules(alice))["items"]}
    assert items["quiet"]["enabled"] is True
    # `no` is a text in the YAML of policies, and unknown keys stay.
    assert items["quiet"]["match"] == {"content_patterns": ["no"]}
    assert items["stop"]["velocity"] == {"max_requests": 1}
    stored = orjson.loads(await redis.execute("GET", keys.config_document("system", "policy")))
    assert "null" not in stored["data"]["bundles"]["secops/output"]["content"]
    audit = (await alice.get("/policy/audit")).json()["items"]
    assert audit[0]["action"] == "edit output_rule quiet"
    assert audit[0]["message"] == "set output rule quiet enabled=true"


@pytest.mark.parametrize(
    ("rule", "body", "status", "code", "error"),
    [
        ("gone", {"enabled": True}, 404, "output_rule_not_found", "output rule not found"),
        ("stop", {}, 400, "POLICY_VALIDATION_FAILED", "enabled is required"),
        ("%20", {"enabled": True}, 400, "POLICY_VALIDATION_FAILED", "rule id required"),
        ("stop", {"action": "EXPLODE"}, 400, "POLICY_VALIDATION_FAILED", None),
        ("stop", {"scanner_type": "nope", "action": "BLOCK"}, 400, "POLICY_VALIDATION_FAILED", None),
    ],
)
async def test_what_cannot_be_written_is_refused(
    alice: httpx.AsyncClient, rule: str, body: dict[str, Any], status: int, code: str, error: str | None
) -> None:
    await put_bundle(alice, "secops/output", LEGACY)
    answer = await alice.put(f"/policy/output/rules/{rule}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if error is not None:
        assert answer.json()["error"] == error


async def test_a_typed_client_writes_a_rule(alice: httpx.AsyncClient) -> None:
    rule = {
        "name": "Ticket numbers",
        "scanner_type": "regex",
        "pattern": "ticket-[0-9]{6}",
        "action": "REDACT",
        "config": {"topics": ["job.mail.*"]},
        "enabled": True,
    }
    answer = await alice.put("/policy/output/rules/tickets", json=rule)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["bundle_id"], answer.json()["action"]) == ("secops/global-output", "REDACT")
    item = {item["id"]: item for item in (await rules(alice))["items"]}["tickets"]
    assert (item["decision"], item["patterns"], item["topics"]) == (
        "redact",
        ["ticket-[0-9]{6}"],
        ["job.mail.*"],
    )
    again = await alice.put("/policy/output/rules/tickets", json=rule | {"action": "BLOCK"})
    assert again.json()["bundle_id"] == "secops/global-output"
    found = [item for item in (await rules(alice))["items"] if item["id"] == "tickets"]
    assert [item["decision"] for item in found] == ["quarantine"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pattern": "(("}, "pattern"),
        ({"scanner_type": "nobody"}, "scanner_type"),
        ({"config": {"topics": ["["]}}, "config.topics[0]"),
        ({"config": {"content_patterns": ["x", "(("]}}, "config.content_patterns[1]"),
        ({"config": {"bogus": 1}}, "config"),
    ],
)
async def test_what_is_wrong_with_a_typed_rule_is_named(
    alice: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    rule = {"scanner_type": "secret", "pattern": "tok-[0-9]{6}", "action": "BLOCK", "config": {}} | change
    answer = await alice.put("/policy/output/rules/wrong", json=rule)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, "POLICY_VALIDATION_FAILED")
    assert (body["rule_id"], body["field"]) == ("wrong", field)
    assert body["errors"]


async def test_a_slow_pattern_is_named_to_its_author(alice: httpx.AsyncClient) -> None:
    slow = "output_rules: [{id: slow-one, match: {content_patterns: ['OSP-[0-9]+', '[0-9]{9}']}, decision: redact}]"
    note = "slow pattern: no literal of three characters begins every match, so that it reads every content"
    answer = (await alice.post("/policy/validate", json={"content": slow})).json()
    assert answer["valid"] is True
    assert answer["warnings"] == [f"output_rules[0].match.content_patterns[1]: {note}"]
    stored = await alice.put("/policy/bundles/secops~slow", json={"content": slow})
    told = f"bundle secops/slow: output_rules[0].match.content_patterns[1]: {note}"
    assert told in stored.json()["warnings"]
    published = await alice.post("/policy/publish", json={"bundle_ids": ["secops/slow"]})
    assert told in published.json()["warnings"]
    switched = await alice.put("/policy/output/rules/slow-one", json={"enabled": False})
    assert switched.json()["warnings"] == [told]
    written = {"scanner_type": "regex", "pattern": "OSP-[0-9]+", "action": "redact"}
    assert "warnings" not in (await alice.put("/policy/output/rules/fast-one", json=written)).json()


async def test_statistics_of_an_empty_system_have_all_keys(alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/policy/output/stats")).json() == {
        "total_checks_24h": 0,
        "quarantined_24h": 0,
        "redacted_24h": 0,
        "skipped_24h": 0,
        "avg_latency_ms": 0,
        "last_check_at": "1970-01-01T00:00:00Z",
    }


async def test_statistics_are_of_the_caller_s_tenants(
    alice: httpx.AsyncClient, stack: GatewayProcess, redis: RedisClient
) -> None:
    at = now_us()
    notes = [
        OutputCheckNote("acme", "a", "ALLOW", "", 4, at - 3_600_000_000),
        OutputCheckNote("acme", "b", "QUARANTINE", "stop", 8, at),
        OutputCheckNote("acme", "c", "REDACT", "mask", 0, at),
        OutputCheckNote("acme", "d", "", "", 0, at),
        OutputCheckNote("globex", "e", "QUARANTINE", "stop", 100, at),
    ]
    await redis.pipeline([*note_commands(notes), ("SADD", keys.TENANTS, "acme", "globex")])
    stats = (await alice.get("/policy/output/stats", params={"limit": 500})).json()
    assert (stats["total_checks_24h"], stats["quarantined_24h"], stats["redacted_24h"]) == (3, 1, 1)
    assert (stats["skipped_24h"], stats["avg_latency_ms"]) == (1, 6)
    assert stats["last_check_at"] > "2020"
    async with client(stack, "root") as root:
        assert (await root.get("/policy/output/stats")).json()["total_checks_24h"] == 4


async def test_a_dry_run_says_what_would_be_decided(alice: httpx.AsyncClient) -> None:
    asked = {"topic": "job.mail.send", "content": "the osprey flies"}
    answer = (await alice.post("/policy/output/simulate", json=asked)).json()
    assert (answer["decision"], answer["rule_id"]) == ("REDACT", "from-base")
    assert answer["redacted"] == "the [REDACTED] flies"
    bundle = {"content": "output_rules: [{id: new, decision: deny, match: {keywords: [flies]}}]"}
    other = (await alice.post("/policy/output/simulate", json={**asked, "bundle": bundle})).json()
    assert (other["decision"], other["rule_id"]) == ("QUARANTINE", "new")
    broken = await alice.post(
        "/policy/output/simulate", json={**asked, "bundle": {"content": "output_rules: [{id: x}]"}}
    )
    assert (broken.status_code, broken.json()["code"]) == (400, "POLICY_VALIDATION_FAILED")
    assert (await alice.get("/policy/output/stats")).json()["total_checks_24h"] == 0


async def test_permissions(stack: GatewayProcess, redis: RedisClient) -> None:
    async with client(stack, "vera") as vera:
        assert (await vera.get("/policy/output/rules")).status_code == 200
        assert (await vera.put("/policy/output/rules/x", json={"enabled": True})).status_code == 403
        assert (await vera.get("/quarantine")).status_code == 200
        assert (await vera.post("/quarantine/j/release", json={"reason": "x"})).status_code == 403


async def quarantine(jobs: JobStore, job_id: str, **fields: str) -> None:
    """Store a job whose output was quarantined after it succeeded."""
    safety = {
        "decision": "QUARANTINE",
        "rule_id": "stop",
        "reason": "a secret",
        "findings": [
            {"type": "secret_leak", "severity": "critical", "detail": "x", "scanner": "secret_leak"}
        ],
        "original_ptr": f"redis://res:{job_id}",
        "checked_at": now_us(),
        "phase": "async",
    }
    common = {
        "topic": "job.a",
        "tenant": "acme",
        "principal": "ulf",
        "result_ptr": f"redis://res:{job_id}",
    }
    create = {
        "id": job_id,
        "from": [""],
        "to": "PENDING",
        "req": orjson.dumps({"jobId": job_id, "topic": "job.a", "tenantId": "acme"}),
        "set": common | fields,
    }
    await jobs.change("job_create", create, now_us=now_us())
    move = {
        "id": job_id,
        "from": ["PENDING"],
        "to": "OUTPUT_QUARANTINED",
        "output": json.dumps(safety),
        "dlq": {"status": "JOB_STATUS_DENIED", "reason": "r", "reason_code": "output_quarantined_async"},
    }
    await jobs.move(move, now_us=now_us())
    await jobs.client.execute("ZADD", keys.tenant_recent("acme"), now_us(), job_id)
    await BlobStore(jobs.client, 600).set_result(job_id, b'{"text": "the planted value"}')


async def test_a_quarantined_result_is_for_those_who_handle_quarantine(
    alice: httpx.AsyncClient, stack: GatewayProcess, jobs: JobStore
) -> None:
    await quarantine(jobs, "q1")
    async with client(stack, "vera") as vera, client(stack, "bob") as bob:
        seen = await vera.get("/jobs/q1")
        assert "planted" not in seen.text
        detail = seen.json()
        assert detail["result_ptr"] == "redis://res:q1"
        assert (detail["output_decision"], detail["output_safety"]["rule_id"]) == ("QUARANTINE", "stop")
        assert (detail["error_code"], detail["error_status"]) == (
            "output_quarantined_async",
            "JOB_STATUS_DENIED",
        )
        listed = (await vera.get("/jobs", params={"state": "OUTPUT_QUARANTINED"})).json()["items"]
        assert [item["output_safety"]["reason"] for item in listed] == ["a secret"]
        assert (await bob.get("/jobs/q1")).json()["result"] == {"text": "the planted value"}


async def test_a_masked_result_is_its_copy_for_everybody(alice: httpx.AsyncClient, jobs: JobStore) -> None:
    await quarantine(jobs, "r1")
    copy = "redis://res:r1:redacted:0123456789abcdef"
    await jobs.client.execute(
        "HSET", keys.job_meta(jobs.tag("r1"), "r1"), "state", "SUCCEEDED", "result_ptr", copy
    )
    safety = json.dumps({"decision": "REDACT", "redacted_ptr": copy})
    await jobs.client.execute("HSET", keys.job_meta(jobs.tag("r1"), "r1"), "output_safety", safety)
    await jobs.client.execute("SET", "res:r1:redacted:0123456789abcdef", b'{"text": "[REDACTED]"}', "EX", 60)
    seen = await alice.get("/jobs/r1")
    assert seen.json()["result"] == {"text": "[REDACTED]"}
    assert "planted" not in seen.text


async def test_a_release_is_somebody_else_s_and_counts_once(
    alice: httpx.AsyncClient, stack: GatewayProcess, jobs: JobStore
) -> None:
    await quarantine(jobs, "q2", principal="bob")
    async with client(stack, "bob") as bob, client(stack, "vera") as vera:
        held = (await bob.get("/quarantine", params={"severity": "critical", "rule_id": "STOP"})).json()
        assert [(item["job_id"], item["status"], item["decision"]) for item in held["items"]] == [
            ("q2", "held", "QUARANTINE")
        ]
        assert (await bob.post("/quarantine/q2/release", json={"reason": "mine"})).status_code == 403
        assert (await alice.post("/quarantine/q2/release", json={})).status_code == 400
        none = await alice.post("/quarantine/q2/release", json={"reason": "x", "mode": "redacted"})
        assert (none.status_code, none.json()["code"]) == (409, "output_not_held")
        released = await alice.post("/quarantine/q2/release", json={"reason": "false positive"})
        assert released.json() == {"job_id": "q2", "status": "released", "result_ptr": "redis://res:q2"}
        detail = (await vera.get("/jobs/q2")).json()
        assert (detail["state"], detail["result"]) == ("OUTPUT_QUARANTINED", {"text": "the planted value"})
        assert (await alice.post("/quarantine/q2/confirm", json={"reason": "no"})).status_code == 409
    events = (await alice.get("/policy/audit", params={"type": "policy.override"})).json()["items"]
    assert [(event["action"], event["reason"]) for event in events] == [
        ("quarantine.release", "false positive")
    ]


async def test_a_confirmed_quarantine_stays(
    alice: httpx.AsyncClient, stack: GatewayProcess, jobs: JobStore
) -> None:
    await quarantine(jobs, "q3")
    confirmed = await alice.post("/quarantine/q3/confirm", json={"reason": "real"})
    assert confirmed.json() == {"job_id": "q3", "status": "confirmed"}
    assert (await alice.post("/quarantine/q3/release", json={"reason": "no"})).status_code == 409
    assert (await alice.get("/quarantine")).json()["items"][0]["status"] == "confirmed"
    assert (await alice.post("/quarantine/gone/release", json={"reason": "x"})).status_code == 404


async def test_a_quarantine_without_its_evidence_is_over(alice: httpx.AsyncClient, jobs: JobStore) -> None:
    await quarantine(jobs, "q5")
    await jobs.client.execute("DEL", keys.result_blob("q5"))
    assert [item["status"] for item in (await alice.get("/quarantine")).json()["items"]] == ["expired"]
    answer = await alice.post("/quarantine/q5/release", json={"reason": "late"})
    assert (answer.status_code, answer.json()["code"]) == (409, "output_not_held")


async def test_quarantines_are_audit_entries_of_their_rule(alice: httpx.AsyncClient, jobs: JobStore) -> None:
    await quarantine(jobs, "q4")
    await jobs.client.pipeline(
        note_commands([OutputCheckNote("acme", "q4", "QUARANTINE", "stop", 1, now_us())])
    )
    for query in ({"type": "output"}, {"type": "output", "rule_id": "STOP", "limit": "5"}):
        page = (await alice.get("/policy/audit", params=query)).json()
        items = page["items"]
        assert (page["total"], page["has_more"], page["offset"]) == (1, False, 0)
        assert [(one["job_id"], one["rule_id"], one["decision"]) for one in items] == [
            ("q4", "stop", "quarantine")
        ]
        assert (items[0]["action"], items[0]["resource_type"], items[0]["phase"]) == (
            "output_quarantine",
            "output",
            "async",
        )
    nothing = {"items": [], "total": 0, "has_more": False, "offset": 0}
    for query in ({"rule_id": "x"}, {"search": "no such text"}, {"before": "2001-01-01T00:00:00Z"}):
        assert (await alice.get("/policy/audit", params={"type": "output", **query})).json() == nothing


async def test_quarantines_are_counted_beyond_the_page(alice: httpx.AsyncClient, jobs: JobStore) -> None:
    for name in ("p1", "p2", "p3"):
        await quarantine(jobs, name)
    query = {"type": "output", "limit": "1", "offset": "1"}
    page = (await alice.get("/policy/audit", params=query)).json()
    assert (page["total"], page["has_more"], page["offset"]) == (3, True, 1)
    assert [one["job_id"] for one in page["items"]] == ["p2"]
    last = (await alice.get("/policy/audit", params={**query, "offset": "2"})).json()
    assert ([one["job_id"] for one in last["items"]], last["has_more"]) == (["p1"], False)


async def test_the_status_tells_of_the_output_policy(alice: httpx.AsyncClient, redis: RedisClient) -> None:
    document = {
        "data": {"scheduler": {"output_policy_enabled": True, "output_fail_mode": "open"}},
        "revision": 1,
    }
    await redis.execute("SET", keys.config_document("system", "default"), orjson.dumps(document))
    await redis.execute("SET", keys.BREAKER_OUTPUT + "failures", 3, "EX", 20)

    async def status() -> dict[str, Any]:
        answer: dict[str, Any] = (await alice.get("/status")).json()
        return answer

    found = await status()
    while found["output_policy"] != {"enabled": True, "fail_mode": "open"}:
        found = await status()
    output = found["circuit_breakers"]["output"]
    assert (output["state"], output["failures"], output["fail_threshold"]) == ("OPEN", 3, 3)
    assert 0 < output["cooldown_remaining_ms"] <= 20_000
    assert found["circuit_breakers"]["input"]["state"] == "CLOSED"


async def test_the_pipeline_of_the_status_counts_withheld_outputs_as_failed(
    alice: httpx.AsyncClient, jobs: JobStore
) -> None:
    before = (await alice.get("/status")).json()["pipeline"]
    await quarantine(jobs, "counted")
    after = before
    # The answer is kept for two seconds.
    while after["quarantined"] == before["quarantined"]:
        after = (await alice.get("/status")).json()["pipeline"]
    assert after["failed"] - before["failed"] == after["quarantined"] - before["quarantined"] == 1
