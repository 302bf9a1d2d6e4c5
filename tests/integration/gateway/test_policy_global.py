"""Global authority and simulation of bundles through gateway, Redis and kernel (policy spec §18, §19.1)."""

from typing import Any

import httpx
import pytest

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, client
from tests.support.processes import wait_until

DENY = "rules: [{id: never, match: {topics: [job.echo]}, decision: deny, reason: stop}]"
COUNTED = "rules: [{id: c, match: {topics: [job.echo]}, velocity: {max_requests: 1, window_seconds: 60, key: tenant}}]"
SECTIONS = {"input_rules", "output_rules", "edge_action_rules", "mcp_tool_rules", "invariants"}


async def stored(redis: RedisClient) -> Any:
    return await redis.execute("GET", keys.config_document("system", "policy"))


async def test_named_sections_change_together_and_the_others_stay(alice: httpx.AsyncClient) -> None:
    empty = (await alice.get("/policy/global")).json()
    assert set(empty["sections"]) == SECTIONS
    assert (empty["snapshot_version"], empty["snapshot_hash"], "updated_at" in empty) == (0, "", False)
    assert empty["sections"]["invariants"] == {
        "bundle_id": "secops/invariants",
        "content": "",
        "sha256": "",
        "enabled": True,
    }
    body = {"sections": {"invariants": {"content": DENY}, "mcp_tool_rules": {"content": "rules: []"}}}
    first = await alice.put("/policy/global", json=body | {"snapshot_version": 0, "message": "m"})
    assert first.status_code == 200, first.text
    assert first.json()["snapshot_version"] == 1
    assert first.json()["snapshot_hash"].startswith("cfg:")
    change = {"snapshot_version": 1, "sections": {"mcp_tool_rules": {"content": " "}}}
    second = (await alice.put("/policy/global", json=change)).json()
    assert second["sections"]["invariants"] == first.json()["sections"]["invariants"]
    assert second["sections"]["invariants"]["content"] == DENY
    assert second["sections"]["mcp_tool_rules"]["content"] == ""
    shown = (await alice.get("/policy/bundles?bundle_id=secops~invariants")).json()
    assert (shown["message"], shown["author"]) == ("m", "alice")

    async def denied() -> bool:
        answer = (await alice.post("/policy/simulate", json={"topic": "job.echo"})).json()
        return bool(answer["rule_id"] == "never")

    await wait_until(denied)


async def test_a_stale_version_changes_nothing(alice: httpx.AsyncClient, redis: RedisClient) -> None:
    body = {"sections": {"invariants": {"content": DENY}}}
    assert (await alice.put("/policy/global", json=body)).status_code == 200
    before = await stored(redis)
    stale = await alice.put("/policy/global", json=body | {"snapshot_version": 0})
    assert (stale.status_code, stale.json()["code"]) == (409, "POLICY_VERSION_CONFLICT")
    assert await stored(redis) == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sections": {}},
        {"sections": {"other": {"content": ""}}},
        {"sections": {"invariants": {"enabled": False}}},
        {"sections": {"invariants": {"content": DENY, "enabled": "no"}}},
        {"sections": {"invariants": {"content": DENY}, "input_rules": {"content": "rules: 1"}}},
        {"sections": {"invariants": {"content": DENY}}, "snapshot_version": "1"},
    ],
    ids=str,
)
async def test_a_bad_write_of_the_global_authority_stores_nothing(
    alice: httpx.AsyncClient, redis: RedisClient, body: dict[str, Any]
) -> None:
    assert (await alice.put("/policy/global", json=body)).status_code == 400
    assert await stored(redis) is None


@pytest.mark.parametrize("path", ["secops~draft", "secops/draft"])
async def test_a_simulated_bundle_decides_and_is_not_stored(
    alice: httpx.AsyncClient, redis: RedisClient, path: str
) -> None:
    body = {"request": {"topic": "job.echo"}, "content": DENY}
    answer = await alice.post(f"/policy/bundles/{path}/simulate", json=body)
    assert answer.status_code == 200, answer.text
    # The base allows the topic before this bundle is asked.
    assert answer.json()["rule_id"] == "allow-rest"
    deny = await alice.post("/policy/bundles/secops~invariants/simulate", json=body)
    assert (deny.json()["decision"], deny.json()["rule_id"]) == ("DENY", "never")
    assert deny.json()["policy_snapshot"] != answer.json()["policy_snapshot"]
    assert await stored(redis) is None


async def test_a_stored_bundle_is_simulated_even_when_it_is_disabled(alice: httpx.AsyncClient) -> None:
    body = {"sections": {"invariants": {"content": DENY, "enabled": False}}}
    assert (await alice.put("/policy/global", json=body)).status_code == 200
    question = {"request": {"topic": "job.echo"}}
    answer = await alice.post("/policy/bundles/secops~invariants/simulate", json=question)
    assert answer.json()["decision"] == "DENY"
    missing = await alice.post("/policy/bundles/secops~none/simulate", json=question)
    assert (missing.status_code, missing.json()["error"]) == (404, "bundle not found")


async def test_a_simulation_counts_nothing(alice: httpx.AsyncClient, redis: RedisClient) -> None:
    body = {"request": {"topic": "job.echo"}, "content": COUNTED}
    for _ in range(3):
        answer = await alice.post("/policy/bundles/velocity~c/simulate", json=body)
        assert answer.json()["decision"] == "ALLOW", answer.text
    assert await redis.execute("KEYS", "cordum:velocity:*") == []


async def test_a_simulation_refuses_what_a_write_refuses(alice: httpx.AsyncClient) -> None:
    path = "/policy/bundles/secops~draft/simulate"
    bad = await alice.post(path, json={"request": {"topic": "job.echo"}, "content": "rules: [{a: b}]"})
    assert (bad.status_code, bad.json()["code"]) == (400, "POLICY_VALIDATION_FAILED")
    for body in ({"content": DENY}, {"request": {}, "content": DENY}, {"request": [], "content": DENY}):
        assert (await alice.post(path, json=body)).status_code == 400


async def test_the_query_names_a_bundle_as_the_path_does(alice: httpx.AsyncClient) -> None:
    path = "/policy/bundles?bundle_id=secops/q"
    assert (await alice.put(path, json={"content": "rules: []"})).json()["id"] == "secops/q"
    assert (await alice.get(path)).json()["content"] == "rules: []"
    assert (await alice.delete(path)).status_code == 204
    assert (await alice.get(path)).status_code == 404
    for missing in (await alice.delete("/policy/bundles"), await alice.put("/policy/bundles", json={})):
        assert missing.status_code == 400


async def test_readers_of_policy_may_simulate_and_not_write(
    stack: GatewayProcess, redis: RedisClient
) -> None:
    async with client(stack, "vera") as viewer:
        assert (await viewer.get("/policy/global")).status_code == 200
        body = {"request": {"topic": "job.echo"}, "content": DENY}
        assert (await viewer.post("/policy/bundles/secops~invariants/simulate", json=body)).status_code == 200
        refused = await viewer.put("/policy/global", json={"sections": {"invariants": {"content": DENY}}})
        assert refused.status_code == 403
