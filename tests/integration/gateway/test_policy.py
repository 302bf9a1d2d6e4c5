"""Policy questions over HTTP against a real kernel (policy spec §17)."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.gateway import GatewayProcess, client

Clients = Callable[..., httpx.AsyncClient]
Snapshot = Callable[[], Awaitable[dict[str, Any]]]
NEVER_NULL = ("decision", "reason", "matched_rules", "remediations", "throttle_duration_seconds")


@pytest.mark.parametrize("route", ["evaluate", "simulate", "explain"])
@pytest.mark.parametrize(
    ("topic", "decision", "rule", "reason", "pause_s"),
    [
        ("job.echo", "ALLOW", "allow-rest", "", 0),
        ("job.blocked", "DENY", "deny-blocked", "this topic is blocked", 0),
        ("job.review", "REQUIRE_APPROVAL", "hold-review", "a person decides", 0),
        ("job.slow", "THROTTLE", "slow-down", "not so fast", 5),
        ("nonsense", "DENY", "", "unsupported topic", 0),
    ],
)
async def test_every_decision_is_an_answer_with_all_members_in_both_spellings(
    as_person: Clients, route: str, topic: str, decision: str, rule: str, reason: str, pause_s: int
) -> None:
    answer = await as_person("alice").post(f"/policy/{route}", json={"topic": topic, "job_id": "j1"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["decision"], body["rule_id"], body["reason"]) == (decision, rule, reason)
    assert body["matched_rules"] == ([rule] if rule else [])
    assert body["throttle_duration_seconds"] == pause_s
    assert body["approval_required"] is (decision == "REQUIRE_APPROVAL")
    assert body["approval_ref"] == ("j1" if decision == "REQUIRE_APPROVAL" else "")
    assert all(body[name] is not None for name in NEVER_NULL)
    for snake, camel in (
        ("decision_type", "decisionType"),
        ("rule_id", "ruleId"),
        ("approval_ref", "approvalRef"),
    ):
        assert body[snake] == body[camel]
    assert body["policy_snapshot"].startswith("1:")
    assert body["eval_time_ms"] > 0


async def test_explain_shows_the_rules_in_order_up_to_the_one_that_decided(as_person: Clients) -> None:
    body = (await as_person("vera").post("/policy/explain", json={"topic": "job.review"})).json()
    path = body["evaluation_path"]
    assert [(element["rule_id"], element["matched"]) for element in path] == [
        ("deny-blocked", False),
        ("hold-review", True),
    ]
    assert path[0]["conditions"][0] == {
        "field": "topics",
        "operator": "glob",
        "expected": ["job.blocked"],
        "actual": "job.review",
        "passed": False,
    }


async def test_the_forms_of_published_clients_are_understood(as_person: Clients) -> None:
    body = {
        "topic": "job.echo",
        "meta": {"actor_type": "ACTOR_TYPE_HUMAN", "labels": {"from": "guard"}, "surprise": 1},
        "labels": {"from": "caller"},
        "capability": "x",
        "risk_tags": ["write"],
        "budget": {"max_output_tokens": 2000},
        "context": {"prompt": "hello"},
        "effective_config": {"safety": {"denied_topics": ["job.e*"]}},
        "team_id": "t",
        "unheard_of": True,
    }
    answer = (await as_person("alice").post("/policy/evaluate", json=body)).json()
    assert (answer["decision"], answer["reason"]) == ("DENY", "topic 'job.echo' denied by effective config")
    assert answer["warnings"] == [
        "unknown field `unheard_of` was ignored",
        "unknown field `meta.surprise` was ignored",
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "topic"),
        ({"topic": "  "}, "topic"),
        ({"topic": 1}, "topic"),
        ({"topic": "job.x", "labels": {"a": 1}}, "labels"),
        ({"topic": "job.x", "priority": "urgent"}, "priority"),
        ({"topic": "job.x", "meta": []}, "meta"),
        ({"topic": "job.x", "meta": {"actor_type": "robot"}}, "meta.actor_type"),
        ({"topic": "job.x", "meta": {"risk_tags": "write"}}, "meta.risk_tags"),
        ({"topic": "job.x", "budget": {"max_output_tokens": "many"}}, "budget"),
        ({"topic": "job.x", "input_size_bytes": -1}, "input_size_bytes"),
        ({"topic": "job.x", "context": "text"}, "context"),
        ({"topic": "job.x", "estimated_cost": "1"}, "estimated_cost"),
    ],
)
async def test_a_bad_member_is_named_and_nothing_is_written(
    as_person: Clients, snapshot: Snapshot, body: dict[str, Any], field: str
) -> None:
    before = await snapshot()
    answer = await as_person("alice").post("/policy/simulate", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert await snapshot() == before


async def test_only_the_own_tenant_may_be_asked_about(as_person: Clients) -> None:
    body = {"topic": "job.echo", "tenant": "globex"}
    assert (await as_person("alice").post("/policy/evaluate", json=body)).status_code == 403
    assert (await as_person("root").post("/policy/evaluate", json=body)).status_code == 200
    assert (await as_person("gina").post("/policy/evaluate", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("who", "evaluate", "simulate"),
    [("ulf", 200, 403), ("vera", 200, 200), ("bob", 200, 200), ("nobody", 403, 403)],
)
async def test_submitters_may_evaluate_and_policy_readers_may_simulate(
    as_person: Clients, who: str, evaluate: int, simulate: int
) -> None:
    body = {"topic": "job.echo"}
    assert (await as_person(who).post("/policy/evaluate", json=body)).status_code == evaluate
    assert (await as_person(who).post("/policy/simulate", json=body)).status_code == simulate
    assert (await as_person(who).get("/policy/snapshots")).status_code == simulate


async def test_the_active_snapshot_is_listed_first(as_person: Clients) -> None:
    person = as_person("vera")
    active = (await person.post("/policy/simulate", json={"topic": "job.echo"})).json()["policy_snapshot"]
    listed = (await person.get("/policy/snapshots")).json()
    assert listed["snapshots"][0] == active
    assert listed["items"][0] == {"id": active}


async def test_without_a_kernel_there_is_no_answer(orphan_gateway: GatewayProcess) -> None:
    async with client(orphan_gateway, "alice") as person:
        answer = await person.post("/policy/evaluate", json={"topic": "job.echo"})
    assert answer.status_code == 503
    assert "decision" not in answer.json()
