"""What publishing a bundle would change, asked before it is published (policy spec §18)."""

import httpx
import orjson

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.processes import wait_until

# Takes the place of a rule of the base.
DRAFT = "rules:\n  - {id: allow-rest, match: {topics: ['job.*']}, decision: require_approval}\n"


async def draft(person: httpx.AsyncClient, content: str = DRAFT) -> None:
    body = {"content": content, "enabled": False}
    assert (await person.put("/policy/bundles/secops~mail", json=body)).status_code == 200


async def base_decides(person: httpx.AsyncClient) -> bool:
    """Tell whether the kernel has let go of the bundles of other tests."""
    answer = await person.post("/policy/simulate", json={"topic": "job.echo"})
    return "cfg:" not in answer.json()["policy_snapshot"]


async def test_a_preview_names_the_requests_that_change_and_stores_nothing(
    alice: httpx.AsyncClient, redis: RedisClient
) -> None:
    await draft(alice)
    await wait_until(lambda: base_decides(alice))
    before = await redis.execute("GET", keys.config_document("system", "policy"))
    answer = await alice.post("/policy/bundles/secops~mail/publish?dry_run=true")
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert (preview["dry_run"], preview["published"]) == (True, ["secops/mail"])
    report = preview["diff"]
    assert report["equivalent"] is False
    assert "allow-rest" in {change["new"]["id"] for change in report["changes"]}
    for change in report["changes"]:
        asked = change["witness"]["request"]
        now = (await alice.post("/policy/simulate", json=asked)).json()
        assert now["decision"] == change["witness"]["old"]["decision"]
    assert await redis.execute("GET", keys.config_document("system", "policy")) == before
    assert (await alice.get("/policy/bundles/snapshots")).json()["items"] == []


async def test_publishing_one_bundle_does_what_the_preview_said(alice: httpx.AsyncClient) -> None:
    await draft(alice)
    preview = (await alice.post("/policy/publish?dry_run=1", json={"bundle_ids": ["secops/mail"]})).json()
    done = await alice.post("/policy/bundles/secops/mail/publish", json={"note": "no mail"})
    assert done.status_code == 200, done.text
    assert done.json()["published"] == ["secops/mail"]
    bundles = (await alice.get("/policy/bundles")).json()["bundles"]
    assert bundles["secops/mail"]["enabled"] is True
    again = (await alice.post("/policy/publish?dry_run=1", json={"bundle_ids": ["secops/mail"]})).json()
    assert again["policy_snapshot"] == preview["policy_snapshot"]


async def test_a_bad_preview_is_refused(alice: httpx.AsyncClient) -> None:
    await draft(alice)
    assert (await alice.post("/policy/bundles/secops~absent/publish?dry_run=true")).status_code == 404
    odd = await alice.post("/policy/bundles/secops~mail/publish?dry_run=maybe")
    assert (odd.status_code, orjson.loads(odd.content)["error"]) == (400, "dry_run: expected true or false")
