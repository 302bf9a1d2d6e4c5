"""Velocity rules through gateway, Redis and kernel (policy spec §13, §19.2)."""

from typing import Any

import httpx
import pytest

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, client
from tests.support.processes import wait_until

PATH = "/policy/velocity-rules"
RULE: dict[str, Any] = {
    "id": "burst",
    "name": "Bursts per user",
    "match": {"topics": ["job.echo"], "tenants": ["acme"]},
    "window": "90s",
    "key": "tenant:labels.user",
    "threshold": 2,
    "decision": "require-approval",
    "reason": "too many at once",
}
STORED = RULE | {"window": "1m30s", "decision": "require_approval", "enabled": True}


def without_times(rule: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rule.items() if name not in ("created_at", "updated_at")}


async def test_a_rule_is_created_listed_changed_and_deleted(alice: httpx.AsyncClient) -> None:
    created = await alice.post(PATH, json=RULE | {"author": "kim"})
    assert created.status_code == 201, created.text
    assert without_times(created.json()) == STORED
    assert created.json()["created_at"] == created.json()["updated_at"]
    listed = (await alice.get(PATH)).json()
    assert (listed["items"], listed["count"], listed["limit"]) == ([created.json()], 1, -1)
    assert listed["updated_at"] == created.json()["updated_at"]
    again = await alice.post(PATH, json=RULE)
    assert (again.status_code, again.json()["code"]) == (409, "VELOCITY_RULE_CONFLICT")
    assert again.json()["error"] == "velocity rule already exists"
    changed = await alice.put(f"{PATH}/burst", json=created.json() | {"window": "24h", "enabled": False})
    assert without_times(changed.json()) == STORED | {"window": "24h0m0s", "enabled": False}
    assert changed.json()["created_at"] == created.json()["created_at"]
    quiet = await alice.put(f"{PATH}/burst", json=RULE)
    assert quiet.json()["enabled"] is False
    bundle = (await alice.get("/policy/bundles/velocity/burst")).json()
    assert bundle["enabled"] is False
    assert (await alice.delete(f"{PATH}/burst")).status_code == 204
    for gone in (await alice.delete(f"{PATH}/burst"), await alice.put(f"{PATH}/burst", json=RULE)):
        assert (gone.status_code, gone.json()["error"]) == (404, "velocity rule not found")
    assert (await alice.get(PATH)).json()["items"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"id": "-x"},
        {"id": "a/b"},
        {"id": "x" * 65},
        {"id": "hits"},
        {"id": "index"},
        {"id": None},
        {"name": " "},
        {"name": "n" * 121},
        {"window": "500ms"},
        {"window": "24h1s"},
        {"window": "0s"},
        {"window": 60},
        {"window": "90"},
        {"key": ""},
        {"key": "tenant::topic"},
        {"key": "labels.-x"},
        {"key": "risk_tags"},
        {"threshold": 0},
        {"threshold": 1.5},
        {"threshold": True},
        {"decision": "maybe"},
        {"decision": None},
        {"reason": ""},
        {"enabled": "yes"},
        {"match": {"topics": ["job.[x"]}},
        {"match": {"labels": {"a": "b"}}},
        {"match": {"tenants": "acme"}},
        {"author": 1},
    ],
    ids=str,
)
async def test_a_rule_that_does_not_fit_is_refused_and_nothing_is_stored(
    alice: httpx.AsyncClient, redis: RedisClient, change: dict[str, Any]
) -> None:
    refused = await alice.post(PATH, json=RULE | change)
    assert (refused.status_code, refused.json()["code"]) == (400, "VELOCITY_RULE_INVALID"), refused.text
    assert await redis.execute("GET", keys.config_document("system", "policy")) is None


async def test_the_id_of_a_changed_rule_is_that_of_the_path(alice: httpx.AsyncClient) -> None:
    assert (await alice.post(PATH, json=RULE)).status_code == 201
    other = await alice.put(f"{PATH}/burst", json=RULE | {"id": "other"})
    assert (other.status_code, other.json()["code"]) == (400, "VELOCITY_RULE_INVALID")
    unnamed = await alice.put(f"{PATH}/burst", json=without_times(RULE) | {"id": None})
    assert (unnamed.status_code, unnamed.json()["id"]) == (200, "burst")


async def test_an_exceeded_rule_decides_and_its_statistics_say_so(alice: httpx.AsyncClient) -> None:
    assert (await alice.post(PATH, json=RULE)).status_code == 201
    assert (await alice.post(PATH, json=RULE | {"id": "idle", "threshold": 1_000})).status_code == 201
    question = {"topic": "job.echo", "labels": {"user": "u1"}}

    async def exceeded() -> bool:
        answer = (await alice.post("/policy/evaluate", json=question)).json()
        return bool(answer["decision"] == "REQUIRE_APPROVAL" and answer["rule_id"] == "burst")

    await wait_until(exceeded)

    async def counted() -> dict[str, Any] | None:
        found: dict[str, Any] = (await alice.get(f"{PATH}/stats")).json()
        return found if found["items"][0]["hit_count_24h"] else None

    stats = await wait_until(counted)
    first, idle = stats["items"]
    assert (first["id"], first["active_buckets"], first["exceeded_buckets"]) == ("burst", 1, 1)
    assert first["current_window_max"] > 2
    assert sum(first["hourly_hits"]) == first["hit_count_24h"]
    assert len(first["hourly_hits"]) == 24
    assert first["hit_rate_24h"] == first["hit_count_24h"] / 24
    assert (idle["hit_count_24h"], "last_triggered" in idle, "last_triggered" in first) == (0, False, True)
    assert stats["top_rules"][0]["id"] == "burst"
    assert stats["generated_at"].endswith("Z")


async def test_a_foreign_bundle_that_holds_no_velocity_rule_is_told(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    document = b'{"data":{"bundles":{"velocity/odd":{"content":"rules: [{id: a}, {id: b}]"}}},"revision":1}'
    await redis.execute("SET", keys.config_document("system", "policy"), document)
    listed = (await alice.get(PATH)).json()
    assert (listed["items"], listed["count"]) == ([], 1)
    assert listed["errors"][0]["id"] == "odd"
    assert (await alice.get(f"{PATH}/stats")).json()["items"] == []


async def test_readers_of_policy_may_not_write_rules(stack: GatewayProcess, redis: RedisClient) -> None:
    async with client(stack, "vera") as viewer:
        assert (await viewer.get(PATH)).json()["items"] == []
        assert (await viewer.get(f"{PATH}/stats")).status_code == 200
        for refused in (
            await viewer.post(PATH, json=RULE),
            await viewer.put(f"{PATH}/burst", json=RULE),
            await viewer.delete(f"{PATH}/burst"),
        ):
            assert refused.status_code == 403
