"""Label `agent_id`: who may submit for which agent (gateway spec §14.1, policy spec §20.2)."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from cordum.store import keys
from cordum.store.connection import RedisClient
from cordum.store.jobs import JobStore

Person = Callable[..., httpx.AsyncClient]


async def know(redis: RedisClient, agent_id: str, owner: str, tenant: str = "acme") -> None:
    record = {"id": agent_id, "tenant": tenant, "owner": owner, "status": "active", "risk_tier": "low"}
    await redis.execute("SET", keys.agent_identity(agent_id), json.dumps(record))


def named(agent_id: str, **body: Any) -> dict[str, Any]:
    return {"prompt": "p", "labels": {"agent_id": agent_id}, **body}


async def test_the_owner_the_agent_itself_and_a_delegate_may_name_an_agent(
    as_person: Person, redis: RedisClient, jobs: JobStore
) -> None:
    await know(redis, "crawler", "bob")
    for who, agent in (("bob", "crawler"), ("bob", "bob"), ("alice", "crawler")):
        answer = await as_person(who).post("/jobs", json=named(agent))
        assert answer.status_code == 200, (who, agent, answer.text)
        record = await jobs.get(answer.json()["job_id"])
        assert record is not None
        assert json.loads(record["labels"])["agent_id"] == agent


@pytest.mark.parametrize(
    ("owner", "tenant"), [("ulf", "acme"), ("bob", "globex"), ("", "acme")], ids=["other", "foreign", "none"]
)
async def test_an_agent_of_somebody_else_is_refused_and_nothing_is_written(
    as_person: Person,
    redis: RedisClient,
    snapshot: Callable[[], Awaitable[dict[str, Any]]],
    owner: str,
    tenant: str,
) -> None:
    await know(redis, "crawler", owner, tenant)
    before = await snapshot()
    for agent in ("crawler", "unknown", "x" * 300):
        answer = await as_person("bob").post(
            "/jobs", json=named(agent), headers={"Idempotency-Key": f"k-{agent[:9]}"}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "access_denied"), answer.text
    assert await snapshot() == before


async def test_items_of_a_batch_are_bound_one_by_one(as_person: Person, redis: RedisClient) -> None:
    await know(redis, "crawler", "bob")
    await know(redis, "broken", "bob")
    await redis.execute("SET", keys.agent_identity("broken"), "{")
    batch = {"jobs": [named("crawler"), named("other"), named("broken"), {"prompt": "p"}]}
    answer = await as_person("bob").post("/jobs/batch", json=batch)
    assert [item["http_status"] for item in answer.json()["results"]] == [200, 403, 403, 200]
