"""Who changed the policy: the audit trail of policy writes (policy spec §18.3, security spec §19)."""

import asyncio
import subprocess
import sys

import httpx
import orjson

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, client, key_of

BLANK = "rules: []\n"


async def write(person: httpx.AsyncClient, name: str = "one", message: str = "") -> None:
    body = {"content": BLANK, "message": message}
    assert (await person.put(f"/policy/bundles/secops~{name}", json=body)).status_code == 200


async def trail(person: httpx.AsyncClient, **query: str) -> list[dict[str, object]]:
    answer = await person.get("/policy/audit", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_every_write_leaves_one_entry_that_says_who_what_and_why(alice: httpx.AsyncClient) -> None:
    await write(alice, message="first rule")
    published = (await alice.post("/policy/publish", json={"note": "go"})).json()
    await alice.post("/policy/rollback", json={"snapshot_id": published["snapshot_before"], "note": "back"})
    await alice.delete("/policy/bundles/secops~one")
    entries = await trail(alice)
    assert [entry["action"] for entry in entries] == [
        "policy.bundle.delete",
        "policy.rollback",
        "policy.publish",
        "policy.bundle.put",
    ]
    put = entries[-1]
    assert (put["actor_id"], put["author"], put["message"]) == ("alice", "alice", "first rule")
    assert (put["bundle_ids"], put["resource_id"]) == (["secops/one"], "secops/one")
    assert str(put["snapshot_after"]).startswith("cfg:")
    assert put["created_at"] == put["timestamp"]
    report = (await alice.get("/audit/verify")).json()
    assert (report["status"], report["total_events"], report["gaps"]) == ("ok", 4, [])


async def verified(stack: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cordum.cli.main", "--gateway", stack.url, "--api-key", key_of("alice")]
    command += ["--tenant", "acme", "audit", "verify", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)


async def test_the_command_line_tells_a_sound_chain_from_a_forged_one(
    alice: httpx.AsyncClient, stack: GatewayProcess, redis: RedisClient
) -> None:
    for name in ("one", "two"):
        await write(alice, name)
    sound = await verified(stack, "--since", "1h")
    assert (sound.returncode, sound.stdout.partition(":")[0]) == (0, "ok"), sound.stderr
    partial = await verified(stack, "--limit", "1", "--json")
    assert (partial.returncode, orjson.loads(partial.stdout)["status"]) == (3, "partial")
    entries = await redis.execute("XRANGE", keys.audit_chain("acme"), "-", "+")
    await redis.execute("XDEL", keys.audit_chain("acme"), entries[0][0])
    forged = await verified(stack)
    assert (forged.returncode, forged.stdout.splitlines()[1]) == (2, "  at 1: missing")
    odd = await verified(stack, "--until", "tomorrow")
    assert (odd.returncode, odd.stdout) == (1, "")


async def test_a_refused_write_leaves_no_entry(alice: httpx.AsyncClient) -> None:
    refused = await alice.put("/policy/bundles/secops~bad", json={"content": "rules: 7"})
    assert refused.status_code == 400
    assert await trail(alice) == []


async def test_filters_pages_and_search(alice: httpx.AsyncClient) -> None:
    for number in range(3):
        await write(alice, f"b{number}", f"change {number}")
    assert [entry["message"] for entry in await trail(alice, search="CHANGE 1")] == ["change 1"]
    assert [entry["resource_id"] for entry in await trail(alice, search="secops/b2")] == ["secops/b2"]
    assert await trail(alice, action="policy.publish") == []
    assert await trail(alice, after="2099-01-01T00:00:00Z") == []
    page = (await alice.get("/policy/audit", params={"limit": "1", "offset": "1"})).json()
    assert ([entry["message"] for entry in page["items"]], page["total"]) == (["change 1"], 3)
    assert (page["has_more"], page["offset"]) == (True, 1)
    odd = await alice.get("/policy/audit", params={"after": "yesterday"})
    assert (odd.status_code, odd.json()["field"]) == (400, "after")


async def test_an_event_that_a_crash_kept_from_the_chain_comes_first_at_the_next_write(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    await write(alice, "one", "lost")
    # As after a crash between the write and the chain: the event is with the document alone.
    entry = (await trail(alice))[0]
    name = keys.config_document("system", "policy")
    document = orjson.loads(await redis.execute("GET", name))
    document["data"]["audit_event"] |= {"event_id": "11111111-2222-4333-8444-555555555555"}
    await redis.execute("SET", name, orjson.dumps(document))
    await write(alice, "two", "next")
    messages = [found["message"] for found in await trail(alice)]
    assert messages == ["next", "lost", "lost"]
    assert entry["message"] == "lost"
    assert (await alice.get("/audit/verify")).json()["status"] == "ok"


async def test_without_a_sound_chain_nothing_is_changed(
    alice: httpx.AsyncClient, stack: GatewayProcess, redis: RedisClient
) -> None:
    await write(alice, "one")
    head = keys.audit_head("acme")
    kept = await redis.execute("GET", head)
    await redis.execute("SET", head, "five:things")
    # The write is stored together with its event, which waits; the one after it must not replace the event.
    await alice.put("/policy/bundles/secops~two", json={"content": BLANK})
    before = await redis.execute("GET", keys.config_document("system", "policy"))
    refused = await alice.put("/policy/bundles/secops~three", json={"content": BLANK})
    assert (refused.status_code, refused.json()["code"]) == (503, "audit_unavailable")
    assert await redis.execute("GET", keys.config_document("system", "policy")) == before
    await redis.execute("SET", head, kept)
    await write(alice, "three")
    assert len(await trail(alice)) == 3
    async with client(stack, "alice") as again:
        assert (await again.get("/audit/verify")).json()["status"] == "ok"
