"""The audit trail event by event, and what gets into it by itself (security spec §19.6, policy spec §17.2)."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from cordum.audit import AuditChain, AuditEvent
from cordum.store.connection import RedisClient
from tests.support.processes import wait_until

Clients = Callable[..., httpx.AsyncClient]


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/audit/events", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def there(client: httpx.AsyncClient, count: int, **query: Any) -> Callable[[], Awaitable[bool]]:
    async def is_there() -> bool:
        return len(await listed(client, **query)) >= count

    return is_there


async def fill(redis: RedisClient, count: int, tenant: str = "acme") -> None:
    chain = AuditChain(redis)
    for number in range(count):
        kind = "system.auth" if number % 2 else "safety.violation"
        await chain.append(
            AuditEvent(
                *(kind, "HIGH" if number % 2 else "LOW", tenant, f"act-{number}"),
                identity=f"Person-{number}",
                extra={"note": "seen"},
                timestamp=f"2026-01-01T00:00:{number:02d}Z",
            )
        )


@pytest.mark.parametrize(
    ("topic", "decision", "severity", "rule"),
    [
        ("job.echo", "allow", "INFO", "allow-rest"),
        ("job.blocked", "deny", "HIGH", "deny-blocked"),
        ("job.review", "require_approval", "MEDIUM", "hold-review"),
        ("job.slow", "throttle", "MEDIUM", "slow-down"),
    ],
)
@pytest.mark.parametrize("route", ["evaluate", "simulate", "explain"])
async def test_every_policy_question_is_one_event(
    as_person: Clients, route: str, topic: str, decision: str, severity: str, rule: str
) -> None:
    alice = as_person("alice")
    question = {
        "topic": topic,
        "job_id": "j-7",
        "meta": {"capability": "docs"},
    }
    assert (await alice.post(f"/policy/{route}", json=question)).status_code == 200
    await wait_until(there(alice, 1, event_type="safety.decision"))
    (event,) = await listed(alice, event_type="safety.decision")
    assert (event["action"], event["decision"], event["severity"]) == (f"policy.{route}", decision, severity)
    assert (event["matched_rule"], event["job_id"]) == (rule, "j-7")
    assert (event["identity"], event["capabilities"], event["extra"]["topic"]) == ("alice", ["docs"], topic)
    assert event["policy_version"].startswith("1:")
    assert (await alice.get("/audit/verify")).json()["status"] == "ok"


async def test_a_job_that_is_refused_or_held_at_submit_is_an_event(as_person: Clients) -> None:
    alice = as_person("alice")
    jobs = [{"prompt": "x", "topic": f"job.{name}"} for name in ("blocked", "review", "slow", "echo")]
    answers = (await alice.post("/jobs/batch", json={"jobs": jobs})).json()["results"]
    assert [answer["http_status"] for answer in answers] == [403, 200, 429, 200]
    await wait_until(there(alice, 2, event_type="safety.decision"))
    events = {event["decision"]: event for event in await listed(alice, event_type="safety.decision")}
    told = {word: (event["severity"], event["matched_rule"]) for word, event in events.items()}
    assert told == {
        "deny": ("HIGH", "deny-blocked"),
        "require_approval": ("MEDIUM", "hold-review"),
    }
    denied = events["deny"]
    assert (denied["action"], denied["job_id"]) == ("job.submit", answers[0]["job_id"])
    assert (denied["identity"], denied["extra"], denied["tenant_id"]) == (
        "alice",
        {"topic": "job.blocked"},
        "acme",
    )
    assert denied["reason"] == "this topic is blocked"
    assert denied["policy_version"].startswith("1:")


async def test_a_humans_answer_is_an_event(as_person: Clients) -> None:
    alice, bob = as_person("alice"), as_person("bob")
    held = (await alice.post("/jobs", json={"prompt": "x", "topic": "job.review"})).json()["job_id"]
    assert (await bob.post(f"/approvals/{held}/approve", json={"reason": "fine"})).status_code == 200
    await wait_until(there(alice, 1, event_type="safety.approval"))
    (event,) = await listed(alice, event_type="safety.approval")
    assert (event["action"], event["job_id"], event["identity"]) == ("approval.approve", held, "bob")


async def test_pages_go_back_in_time_without_gaps_or_repeats(as_person: Clients, redis: RedisClient) -> None:
    await fill(redis, 7)
    vera = as_person("vera")
    seen: list[str] = []
    cursor = ""
    while True:
        page = (
            await vera.get(
                "/audit/events", params={"limit": 3, "cursor": cursor, "to": "2026-02-01T00:00:00Z"}
            )
        ).json()
        assert page["returned"] == len(page["items"])
        seen += [item["action"] for item in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [f"act-{number}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"event_type": "system.auth"}, [3, 1]),
        ({"severity": "low"}, [2, 0]),
        ({"category": "routine", "to": "2026-02-01T00:00:00Z"}, [3, 1]),
        ({"category": "governance"}, [2, 0]),
        ({"search": "PERSON-2"}, [2]),
        ({"from": "2026-01-01T00:00:01Z", "to": "2026-01-01T00:00:02Z"}, [2, 1]),
        ({"from": "1767225602000", "to": "1767225602000"}, [2]),
    ],
)
async def test_filters_choose_events(
    as_person: Clients, redis: RedisClient, query: dict[str, str], expected: list[int]
) -> None:
    await fill(redis, 4)
    found = await listed(as_person("vera"), **query)
    assert [item["action"] for item in found] == [f"act-{number}" for number in expected]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor": "x"}, "INVALID_CURSOR"),
        ({"limit": "0"}, "INVALID_LIMIT"),
        ({"limit": "many"}, "INVALID_LIMIT"),
        ({"from": "yesterday"}, "INVALID_FROM"),
        ({"to": "tomorrow"}, "INVALID_TO"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "INVALID_RANGE"),
        ({"category": "gossip"}, "INVALID_CATEGORY"),
        ({"search": "x" * 257}, "INVALID_QUERY"),
    ],
)
async def test_a_bad_parameter_has_a_code_of_its_own(
    as_person: Clients, query: dict[str, str], code: str
) -> None:
    answer = await as_person("vera").get("/audit/events", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_the_trail_of_another_tenant_is_not_shown_and_reading_is_recorded(
    as_person: Clients, redis: RedisClient
) -> None:
    await fill(redis, 1, tenant="globex")
    vera = as_person("vera")
    assert await listed(vera) == []
    await wait_until(there(vera, 1, event_type="audit.read.events"))
    assert (await as_person("ulf").get("/audit/events")).status_code == 403
