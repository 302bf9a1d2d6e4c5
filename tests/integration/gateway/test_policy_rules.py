"""The listing of rules through gateway and kernel (policy spec §18)."""

import hashlib

import httpx
import orjson

from cordum.gateway.policy_rules import CACHED_MAX, RuleReader
from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.gateway import POLICY, GatewayProcess, client

PACK = """\
tier: workflow
selector: {workflow_id: w1}
rules:
  - {reason: r, id: p1, match: {topics: [job.pack]}, decision: allow}
input_rules:
  - {id: p2, enabled: false, decision: deny, match: {keywords: [secret]}}
output_rules:
  - {id: p3, decision: redact}
"""


async def store(redis: RedisClient, **bundles: object) -> None:
    named = {name.replace("__", "/"): value for name, value in bundles.items()}
    document = {"data": {"bundles": named}, "revision": 1, "updated_at": "2025-01-01T00:00:00Z"}
    await redis.execute("SET", keys.config_document("system", "policy"), orjson.dumps(document))


async def test_rules_are_listed_as_written_with_their_source(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    installed = "2025-04-01T08:00:00Z"
    pack = {"content": PACK, "version": "1.2.0", "installed_at": installed, "enabled": "yes"}
    off = {"content": "rules: [{id: off, decision: deny}]", "enabled": False}
    await store(redis, docs__default=pack, secops__off=off, secops__bad="rules: 7")
    body = (await alice.get("/policy/rules")).json()
    base = [item for item in body["items"] if item["source"]["fragment_id"] == "base"]
    assert [item["id"] for item in base] == ["deny-blocked", "hold-review", "slow-down", "allow-rest"]
    assert base[0]["match"] == {"topics": ["job.blocked"]}
    assert base[0]["source"]["sha256"] == hashlib.sha256(POLICY.encode()).hexdigest()
    rest = {item["id"]: item for item in body["items"][len(base) :]}
    assert set(rest) == {"p1", "p3"}
    assert rest["p1"] == {
        "reason": "r",
        "id": "p1",
        "match": {"topics": ["job.pack"]},
        "decision": "allow",
        "section": "rules",
        "tier": "workflow",
        "selector": {"workflow_id": "w1"},
        "enabled": True,
        "source": {
            "fragment_id": "docs/default",
            "tier": "workflow",
            "pack_id": "docs",
            "overlay_name": "default",
            "version": "1.2.0",
            "installed_at": installed,
            "sha256": hashlib.sha256(PACK.encode()).hexdigest(),
        },
    }
    assert [error["fragment_id"] for error in body["errors"]] == ["secops/bad"]
    assert "must be a list" in body["errors"][0]["error"]


async def test_switched_off_rules_are_listed_when_asked(alice: httpx.AsyncClient, redis: RedisClient) -> None:
    off = {"content": "rules: [{id: off, decision: deny}]", "enabled": False}
    await store(redis, docs__default=PACK, secops__off=off)
    items = (await alice.get("/policy/rules", params={"include_disabled": "true"})).json()["items"]
    shown = {item["id"]: item["enabled"] for item in items if item["source"]["fragment_id"] != "base"}
    assert shown == {"p1": True, "p2": False, "p3": True, "off": False}
    assert (await alice.get("/policy/rules", params={"include_disabled": "maybe"})).status_code == 400


async def test_bundles_tell_how_many_rules_they_hold(alice: httpx.AsyncClient, redis: RedisClient) -> None:
    await store(redis, docs__default=PACK, secops__bad="rules: 7")
    listed = (await alice.get("/policy/bundles")).json()["items"]
    assert [(item["id"], item["rule_count"]) for item in listed] == [("docs/default", 3), ("secops/bad", 0)]
    shown = (await alice.get("/policy/bundles/docs/default")).json()
    assert (shown["rule_count"], [rule["id"] for rule in shown["rules"]]) == (3, ["p1", "p2", "p3"])


async def test_a_stored_value_that_is_no_bundle_hides_no_other(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    await store(redis, docs__default=PACK, secops__odd={"content": 7})
    listed = (await alice.get("/policy/bundles")).json()
    assert [item["id"] for item in listed["items"]] == ["docs/default"]
    rules = (await alice.get("/policy/rules")).json()
    assert {item["source"]["fragment_id"] for item in rules["items"]} == {"base", "docs/default"}
    for answer in (listed, rules):
        assert [error["fragment_id"] for error in answer["errors"]] == ["secops/odd"]
    assert (await alice.delete("/policy/bundles/secops/odd")).status_code == 204


async def test_the_global_authority_is_not_deleted_as_a_bundle(alice: httpx.AsyncClient) -> None:
    body = {"sections": {"invariants": {"content": "rules: []"}}}
    assert (await alice.put("/policy/global", json=body)).status_code == 200
    assert (await alice.delete("/policy/bundles/secops~invariants")).status_code == 400
    assert (await alice.get("/policy/bundles/secops~invariants")).status_code == 200


async def test_a_gateway_without_kernel_lists_the_bundles_and_says_what_is_missing(
    orphan_gateway: GatewayProcess, redis: RedisClient
) -> None:
    await store(redis, docs__default=PACK)
    async with client(orphan_gateway, "vera") as viewer:
        body = (await viewer.get("/policy/rules")).json()
    assert [item["id"] for item in body["items"]] == ["p1", "p3"]
    assert [error["fragment_id"] for error in body["errors"]] == ["base"]


async def test_remembered_documents_are_bounded_and_answers_stay_right() -> None:
    reader = RuleReader()
    contents = [f"rules: [{{id: r{number}}}]".encode() for number in range(CACHED_MAX + 10)]
    first = await reader.read(contents)
    assert await reader.read(contents) == first
    assert len(reader._known) == CACHED_MAX
    assert reader._bytes == sum(fragment.size_bytes for fragment in reader._known.values())
    big = b"rules: [{id: big}] #" + b"x" * 3_000_000
    for number in range(4):
        assert (await reader.read([big + str(number).encode()]))[0].entries[0]["rule"] == {"id": "big"}
    assert reader._bytes <= 8 * 1024 * 1024
