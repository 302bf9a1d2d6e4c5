"""What a policy write promises: its writer is answered under it, backups hold it (policy spec §8.1, §10, §18.2)."""

import httpx
import orjson
import pytest

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess

STOP = "rules:\n  - {id: allow-rest, match: {topics: ['job.*']}, decision: deny}\n"
DOCUMENT = keys.config_document("system", "policy")
STACK_KERNEL = {"SAFETY_POLICY_RELOAD_INTERVAL": "60s"}
"""The kernel looks at the bundles only when it is told."""


@pytest.mark.parametrize("route", ["evaluate", "simulate", "explain"])
@pytest.mark.parametrize("job_id", ["", "j1"])
async def test_whoever_wrote_a_bundle_is_answered_under_it(
    alice: httpx.AsyncClient, route: str, job_id: str
) -> None:
    asked = {"topic": "job.echo", "job_id": job_id}
    assert (await alice.put("/policy/bundles/secops~stop", json={"content": STOP})).status_code == 200
    first = (await alice.post(f"/policy/{route}", json=asked)).json()
    assert (first["decision"], first["rule_id"]) == ("DENY", "allow-rest")
    assert "|cfg:" in first["policy_snapshot"]
    assert (await alice.delete("/policy/bundles/secops~stop")).status_code == 204
    after = (await alice.post(f"/policy/{route}", json=asked)).json()
    assert (after["decision"], "cfg:" in after["policy_snapshot"]) == ("ALLOW", False)


async def test_ten_snapshots_are_kept_of_bundles_that_fill_their_document(alice: httpx.AsyncClient) -> None:
    rules = [f"  - {{id: r{i}, match: {{topics: [job.t{i}]}}, decision: deny}}\n" for i in range(7_000)]
    content = "rules:\n" + "".join(rules)
    written = await alice.put("/policy/bundles/secops~big", json={"content": content})
    assert written.status_code == 200, written.text
    for _ in range(6):
        published = await alice.post("/policy/publish", json={})
        assert published.status_code == 200, published.text[:500]
    kept = (await alice.get("/policy/bundles/snapshots")).json()["items"]
    assert len(kept) == 10
    shown = await alice.get(f"/policy/bundles/snapshots/{kept[-1]['id']}")
    assert shown.json()["bundles"]["secops/big"]["content"] == content


async def test_a_gateway_restores_the_policy_document_from_its_mirror(
    alice: httpx.AsyncClient, stack: GatewayProcess, redis: RedisClient
) -> None:
    assert (await alice.put("/policy/bundles/secops~stop", json={"content": STOP})).status_code == 200
    stored = (await alice.get("/policy/bundles/secops~stop")).json()
    await redis.execute("DEL", DOCUMENT)
    stack.stop()
    stack.start()
    assert (await alice.get("/policy/bundles/secops~stop")).json() == stored
    assert orjson.loads(await redis.execute("GET", DOCUMENT))["revision"] == 1
    mirror = orjson.loads(await redis.execute("GET", keys.POLICIES_MIRROR))
    assert (mirror["revision"], set(mirror["bundles"])) == (1, {"secops/stop"})


async def test_a_gateway_brings_a_mirror_that_differs_up_to_the_document(
    alice: httpx.AsyncClient, stack: GatewayProcess, redis: RedisClient
) -> None:
    assert (await alice.put("/policy/bundles/secops~stop", json={"content": STOP})).status_code == 200
    right = await redis.execute("GET", keys.POLICIES_MIRROR)
    stack.stop()
    await redis.execute(
        "SET", keys.POLICIES_MIRROR, b'{"revision":9,"bundles":{"secops/old":{"content":"rules: []"}}}'
    )
    stack.start()
    assert await redis.execute("GET", keys.POLICIES_MIRROR) == right
    assert [item["id"] for item in (await alice.get("/policy/bundles")).json()["items"]] == ["secops/stop"]


async def test_a_mirror_that_cannot_be_read_does_not_keep_a_gateway_from_starting(
    alice: httpx.AsyncClient, stack: GatewayProcess, redis: RedisClient
) -> None:
    stack.stop()
    await redis.execute("SET", keys.POLICIES_MIRROR, b"[]")
    stack.start()
    assert (await alice.get("/policy/bundles")).json()["items"] == []
    assert await redis.execute("GET", DOCUMENT) is None
