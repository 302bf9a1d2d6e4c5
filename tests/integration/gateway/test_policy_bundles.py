"""Policy bundles through gateway, Redis, NATS and kernel (policy spec §18)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, client
from tests.support.processes import wait_until

STOP = "# kept to the byte\nrules:\n  - {id: allow-rest, match: {topics: ['job.*']}, decision: deny}\n"
BROKEN = "rules: [{decision: maybe}, {match: {topic: x}}]"
Snapshot = Callable[[], Awaitable[dict[str, Any]]]


async def decision(person: httpx.AsyncClient, topic: str = "job.echo") -> str:
    answer = await person.post("/policy/simulate", json={"topic": topic})
    return str(answer.json()["decision"])


async def test_a_written_bundle_decides_and_a_deleted_one_no_longer(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    written = await alice.put("/policy/bundles/secops~stop", json={"content": STOP, "message": "incident"})
    assert written.status_code == 200, written.text
    assert written.json()["id"] == "secops/stop"
    assert written.json()["warnings"] == ["stored without a signature"]

    async def decides(wanted: str) -> bool:
        return await decision(alice) == wanted

    await wait_until(lambda: decides("DENY"))
    shown = (await alice.get("/policy/bundles/secops/stop")).json()
    assert (shown["content"], shown["author"], shown["source"]) == (STOP, "alice", "secops")
    listed = (await alice.get("/policy/bundles")).json()
    assert [item["id"] for item in listed["items"]] == ["secops/stop"]
    assert listed["bundles"]["secops/stop"]["message"] == "incident"
    mirror = orjson.loads(await redis.execute("GET", keys.POLICIES_MIRROR))
    assert mirror["bundles"]["secops/stop"]["content"] == STOP
    assert mirror["snapshot"].startswith("cfg:")
    assert (await alice.delete("/policy/bundles/secops~stop")).status_code == 204
    assert (await alice.delete("/policy/bundles/secops~stop")).status_code == 404
    await wait_until(lambda: decides("ALLOW"))


async def test_publish_keeps_snapshots_and_rollback_returns_to_one(alice: httpx.AsyncClient) -> None:
    draft = {"content": STOP, "enabled": False}
    assert (await alice.put("/policy/bundles/secops~stop", json=draft)).status_code == 200
    assert await decision(alice) == "ALLOW"
    published = (await alice.post("/policy/publish", json={"note": "go"})).json()
    assert published["published"] == ["secops/stop"]

    async def decides(wanted: str) -> bool:
        return await decision(alice) == wanted

    await wait_until(lambda: decides("DENY"))
    kept = (await alice.get("/policy/bundles/snapshots")).json()["items"]
    assert [entry["id"] for entry in kept] == [published["snapshot_after"], published["snapshot_before"]]
    assert kept[0]["bundle_ids"] == ["secops/stop"]
    back = await alice.post("/policy/rollback", json={"snapshot_id": published["snapshot_before"]})
    assert back.json()["rollback_to"] == published["snapshot_before"]
    await wait_until(lambda: decides("ALLOW"))


async def test_every_problem_of_the_merged_policy_refuses_the_write_and_changes_nothing(
    alice: httpx.AsyncClient, snapshot: Snapshot
) -> None:
    before = await snapshot()
    refused = await alice.put("/policy/bundles/secops~bad", json={"content": BROKEN})
    body = refused.json()
    assert (refused.status_code, body["code"]) == (400, "POLICY_VALIDATION_FAILED")
    paths = [error["path"] for error in body["errors"]]
    assert paths == ["bundle secops/bad: rules[0].decision", "bundle secops/bad: rules[1].match"]
    for path, content in (("pack~x", STOP), ("secops~invariants", STOP), ("secops~x", " "), ("secops~x", 1)):
        answer = await alice.put(f"/policy/bundles/{path}", json={"content": content})
        assert answer.status_code == 400, path
    assert (await alice.post("/policy/publish", json={})).status_code == 400
    assert (await alice.post("/policy/rollback", json={"snapshot_id": "none"})).status_code == 404
    after = await snapshot()
    # The kernel may note meanwhile that the bundles of an earlier test are gone.
    for name in (keys.config_document("system", "policy_snapshots"), keys.SAFETY_SNAPSHOTS):
        after.pop(name, None)
        before.pop(name, None)
    assert after == before


async def test_a_document_can_be_validated_without_storing_it(alice: httpx.AsyncClient) -> None:
    fine = (await alice.post("/policy/validate", json={"content": STOP})).json()
    assert fine == {"valid": True, "errors": []}
    bad = (await alice.post("/policy/validate", json={"content": BROKEN})).json()
    assert [error["path"] for error in bad["errors"]] == ["rules[0].decision", "rules[1].match"]
    assert [error["line"] for error in bad["errors"]] == [1, 1]


async def test_a_refused_write_says_path_line_and_what_is_expected(alice: httpx.AsyncClient) -> None:
    content = "rules:\n  - {id: a}\n  - id: b\n    decision: maybe\n"
    refused = await alice.put("/policy/bundles/secops~lines", json={"content": content})
    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert (error["path"], error["line"]) == ("bundle secops/lines: rules[1].decision", 4)
    assert error["message"].startswith("must be one of allow, permit, ")


async def test_a_bundle_of_the_global_authority_is_refused_with_its_reason(alice: httpx.AsyncClient) -> None:
    for bundle_id, reason in (
        ("secops~invariants", "this bundle belongs to the global authority"),
        ("secops~", "bundle id must start with secops/"),
        ("pack~x", "bundle id must start with secops/"),
    ):
        refused = await alice.put(f"/policy/bundles/{bundle_id}", json={"content": STOP})
        assert (refused.status_code, refused.json()["error"]) == (400, reason)


async def test_concurrent_writers_of_different_bundles_lose_nothing(alice: httpx.AsyncClient) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(alice.put(f"/policy/bundles/secops~b{number}", json={"content": "rules: []"}))
            for number in range(4)
        ]
    written = [f"secops/b{number}" for number, task in enumerate(tasks) if task.result().status_code == 200]
    assert {task.result().status_code for task in tasks} <= {200, 409}
    assert sorted((await alice.get("/policy/bundles")).json()["bundles"]) == written


async def test_readers_of_policy_may_not_write_it(stack: GatewayProcess, alice: httpx.AsyncClient) -> None:
    async with client(stack, "vera") as viewer:
        assert (await viewer.get("/policy/bundles")).status_code == 200
        refused = await viewer.put("/policy/bundles/secops~stop", json={"content": STOP})
        assert refused.status_code == 403
        assert (await viewer.post("/policy/publish", json={})).status_code == 403
    assert (await alice.get("/policy/bundles/secops~stop")).status_code == 404
