"""A tenant with too many jobs under way is refused more (configuration spec §4.3; gateway spec §14.1)."""

from collections.abc import Callable
from typing import Any

import httpx

from cordum.store import keys
from cordum.store.connection import RedisClient
from tests.support.processes import wait_until

Clients = Callable[..., httpx.AsyncClient]


async def _limit(client: httpx.AsyncClient, data: dict[str, Any]) -> None:
    answer = await client.put("/config", json={"scope": "org", "scope_id": "acme", "data": data})
    assert answer.status_code == 204, answer.text


def _job(**more: Any) -> dict[str, Any]:
    return {"prompt": "x", "topic": "job.echo", **more}


async def test_the_queue_of_a_tenant_has_an_end(as_person: Clients, redis: RedisClient) -> None:
    alice, gina = as_person("alice"), as_person("gina")
    await _limit(
        alice, {"limits": {"max_concurrent_jobs": 2}, "rate_limits": {"concurrent_jobs": 9, "queue_size": 1}}
    )
    ids = []
    for _ in range(3):
        answer = await alice.post("/jobs", json=_job())
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["job_id"])
    refused = await alice.post("/jobs", json=_job())
    assert (refused.status_code, refused.json()["code"]) == (429, "BACKPRESSURE")
    assert refused.json()["error"] == "job queue full (active=3, limit=3)"
    assert int(refused.headers["Retry-After"]) > 0
    assert (await gina.post("/jobs", json=_job())).status_code == 200, "others are not concerned"

    assert (await alice.post(f"/jobs/{ids[0]}/cancel")).status_code == 200

    async def left() -> bool:
        return int(await redis.execute("ZCARD", keys.tenant_open("acme"))) == 2

    await wait_until(left)
    assert (await alice.post("/jobs", json=_job())).status_code == 200


async def test_a_batch_takes_what_fits_and_a_denied_job_takes_no_place(
    as_person: Clients, redis: RedisClient
) -> None:
    alice = as_person("alice")
    await _limit(
        alice,
        {"rate_limits": {"concurrent_jobs": 3, "queue_size": 1}, "safety": {"denied_topics": ["job.other"]}},
    )
    denied = await alice.post("/jobs", json=_job(topic="job.other"))
    assert denied.status_code == 403
    throttled = await alice.post("/jobs", json=_job(topic="job.slow"))
    assert throttled.json()["code"] != "BACKPRESSURE"
    assert int(await redis.execute("ZCARD", keys.tenant_open("acme"))) == 0
    answer = await alice.post("/jobs/batch", json={"jobs": [_job() for _ in range(6)]})
    codes = [result["http_status"] for result in answer.json()["results"]]
    assert sorted(codes) == [200, 200, 200, 200, 429, 429]
    assert int(await redis.execute("ZCARD", keys.tenant_open("acme"))) == 4


async def test_the_same_key_is_answered_although_the_queue_is_full(as_person: Clients) -> None:
    alice = as_person("alice")
    await _limit(alice, {"limits": {"max_concurrent_jobs": 1}})
    first = await alice.post("/jobs", json=_job(idempotency_key="k"))
    again = await alice.post("/jobs", json=_job(idempotency_key="k"))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert (await alice.post("/jobs", json=_job())).status_code == 429


async def test_nothing_is_taken_under_a_configuration_nobody_can_read(
    as_person: Clients, redis: RedisClient
) -> None:
    await redis.execute("SET", "cfg:org:globex", b"[not a document")
    gina = as_person("gina")

    async def refused() -> bool:
        answer = await gina.post("/jobs", json=_job())
        return answer.status_code == 503 and answer.json()["error"] == "job submission unavailable"

    await wait_until(refused)
