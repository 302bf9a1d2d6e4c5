"""Tests of a policy guard every write that makes a bundle decide (docs/policy-tests.md)."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from cordum.store import keys

Snapshot = Callable[[], Awaitable[dict[str, Any]]]

# Takes the place of a rule of the base.
STOP = "rules:\n  - {id: allow-rest, match: {topics: ['job.*']}, decision: deny}\n"
TEST = "tests:\n  - {name: mail stops, request: {topic: job.mail.a}, expect: {decision: %s, rule_id: allow-rest}}\n"
GOOD, BAD = STOP + TEST % "deny", STOP + TEST % "allow"


async def put(person: httpx.AsyncClient, name: str, content: str, *, enabled: bool = True) -> httpx.Response:
    return await person.put(f"/policy/bundles/secops~{name}", json={"content": content, "enabled": enabled})


def refused(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the failed cases of a refused write."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (409, "POLICY_TESTS_FAILED"), answer.text
    assert body["failed_count"] == len(body["failed"])
    failed: list[dict[str, Any]] = body["failed"]
    return failed


async def test_a_bundle_with_a_failing_test_is_not_stored(
    alice: httpx.AsyncClient, snapshot: Snapshot
) -> None:
    assert (await put(alice, "mail", GOOD)).status_code == 200
    before = await snapshot()
    (case,) = refused(await put(alice, "mail", BAD))
    assert (case["source"], case["name"], case["differs"]) == ("secops/mail", "mail stops", ["decision"])
    assert case["got"]["decision"] == "DENY"
    assert await snapshot() == before


async def test_a_draft_with_a_failing_test_can_be_stored_but_not_published(
    alice: httpx.AsyncClient, snapshot: Snapshot
) -> None:
    assert (await put(alice, "mail", BAD, enabled=False)).status_code == 200
    before = await snapshot()
    refused(await alice.post("/policy/publish", json={"bundle_ids": ["secops/mail"]}))
    refused(await alice.post("/policy/bundles/secops~mail/publish", json={}))
    preview = (await alice.post("/policy/bundles/secops~mail/publish?dry_run=true")).json()["tests"]
    assert (preview["passed"], preview["failed"], preview["cases"][0]["name"]) == (0, 1, "mail stops")
    # Not even a snapshot of the bundles is left behind.
    assert await snapshot() == before
    assert (await put(alice, "mail", GOOD, enabled=False)).status_code == 200
    assert (await alice.post("/policy/publish", json={})).status_code == 200


async def test_the_tests_of_one_bundle_guard_it_against_another(alice: httpx.AsyncClient) -> None:
    assert (await put(alice, "b-mail", GOOD)).status_code == 200
    soften = STOP.replace("deny", "allow")
    assert [case["source"] for case in refused(await put(alice, "z", soften))] == ["secops/b-mail"]
    # A bundle that is switched off is not asked.
    assert (await put(alice, "b-mail", GOOD, enabled=False)).status_code == 200
    assert (await put(alice, "z", soften)).status_code == 200


async def test_a_rollback_to_bundles_whose_tests_fail_leaves_no_trace(
    alice: httpx.AsyncClient, snapshot: Snapshot
) -> None:
    # Captured is the bundle with the test, without the one whose rule it tests: its deletion was not refused.
    assert (await put(alice, "rules", STOP)).status_code == 200
    assert (await put(alice, "tests", TEST % "deny")).status_code == 200
    assert (await alice.delete("/policy/bundles/secops~rules")).status_code == 204
    kept = (await alice.post("/policy/bundles/snapshots", json={})).json()
    assert (await put(alice, "tests", "rules: []")).status_code == 200
    before = await snapshot()
    refused(await alice.post("/policy/rollback", json={"snapshot_id": kept["id"]}))
    assert await snapshot() == before
    assert keys.config_document("system", "policy") in before


async def test_the_global_authority_answers_to_the_tests_too(
    alice: httpx.AsyncClient, snapshot: Snapshot
) -> None:
    assert (await put(alice, "tests", TEST % "allow")).status_code == 200
    before = await snapshot()
    deny = {"content": STOP.replace("allow-rest", "never"), "enabled": True}
    refused(await alice.put("/policy/global", json={"sections": {"invariants": deny}}))
    assert await snapshot() == before
    draft = {"sections": {"invariants": deny | {"enabled": False}}}
    assert (await alice.put("/policy/global", json=draft)).status_code == 200


async def test_in_an_incident_the_tests_may_be_skipped_and_the_trail_says_so(
    alice: httpx.AsyncClient,
) -> None:
    body = {"content": BAD, "enabled": True, "message": "incident"}
    forced = await alice.put("/policy/bundles/secops~mail?skip_tests=true", json=body)
    assert forced.status_code == 200, forced.text
    refused(await alice.post("/policy/publish", json={"bundle_ids": ["secops/mail"]}))
    published = await alice.post("/policy/publish?skip_tests=true", json={"bundle_ids": ["secops/mail"]})
    assert published.status_code == 200, published.text
    entries = (await alice.get("/policy/audit")).json()["items"]
    assert [entry["extra"]["tests"] for entry in entries] == ["skipped", "skipped"]
    odd = await alice.put("/policy/bundles/secops~mail?skip_tests=perhaps", json=body)
    assert (odd.status_code, odd.json()["field"]) == (400, "skip_tests")
