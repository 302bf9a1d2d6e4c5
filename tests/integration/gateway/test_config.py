"""Configuration documents over HTTP and what they do to decisions (configuration spec §5.4; policy spec §6.8)."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess
from tests.support.processes import wait_until

Clients = Callable[..., httpx.AsyncClient]
Snapshot = Callable[[], Awaitable[dict[str, Any]]]


async def put(
    client: httpx.AsyncClient, scope: str, scope_id: str, data: dict[str, Any], **more: Any
) -> httpx.Response:
    return await client.put("/config", json={"scope": scope, "scope_id": scope_id, "data": data, **more})


async def test_a_write_replaces_keys_and_null_deletes_one(as_person: Clients) -> None:
    alice = as_person("alice")
    assert (
        await put(alice, "org", "acme", {"slo": {"critical": True}, "retry": {"max_retries": 1}})
    ).status_code == 204
    assert (
        await put(alice, "org", "acme", {"slo": {"timeout_seconds": 3}, "retry": None})
    ).status_code == 204
    assert (await alice.get("/config?scope=org")).json() == {"slo": {"timeout_seconds": 3}}
    whole = (await alice.get("/config?scope=org&scope_id=acme&envelope=true")).json()
    assert (whole["scope"], whole["scope_id"], whole["revision"]) == ("org", "acme", 2)
    assert whole["meta"] == {"updated_by": "alice"}


async def test_a_body_without_scope_is_a_patch_of_the_system_document(as_person: Clients) -> None:
    alice = as_person("alice")
    assert (await alice.get("/config")).json() == {}
    empty = (await alice.get("/config?envelope=true")).json()
    assert empty == {"scope": "system", "scope_id": "default", "data": {}, "revision": 0}
    assert (await alice.post("/config", json={"slo": {"critical": True}})).status_code == 204
    assert (await alice.get("/config")).json() == {"slo": {"critical": True}}


async def test_a_revision_makes_a_write_conditional(as_person: Clients, snapshot: Snapshot) -> None:
    alice = as_person("alice")
    assert (await put(alice, "org", "acme", {"slo": {}}, revision=0)).status_code == 204
    before = await snapshot()
    for late in (
        await put(alice, "org", "acme", {"slo": {"critical": True}}, revision=0),
        await alice.put(
            "/config",
            json={"scope": "org", "scope_id": "acme", "data": {}},
            headers={"If-Match": '"7"'},
        ),
    ):
        assert (late.status_code, late.json()["code"]) == (409, "CONFIG_VERSION_CONFLICT")
    assert await snapshot() == before


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"scope": "moon", "data": {}}, 400, "CONFIG_REQUEST_INVALID", "scope"),
        ({"scope": "org", "scope_id": 3, "data": {}}, 400, "CONFIG_REQUEST_INVALID", "scope_id"),
        ({"scope": "team", "data": {}}, 400, "CONFIG_REQUEST_INVALID", "scope_id"),
        ({"scope": "org", "data": []}, 400, "CONFIG_REQUEST_INVALID", "data"),
        ({"scope": "org", "data": {}, "meta": {"a": 1}}, 400, "CONFIG_REQUEST_INVALID", "meta"),
        ({"scope": "org", "data": {}, "revision": "x"}, 400, "CONFIG_REQUEST_INVALID", "revision"),
        ({"scope": "org", "scope_id": "globex", "data": {}}, 403, "CONFIG_KEY_FORBIDDEN", None),
        ({"scope": "system", "scope_id": "workers", "data": {}}, 403, "CONFIG_KEY_FORBIDDEN", None),
        ({"bundles": {}}, 400, "CONFIG_KEY_FORBIDDEN", "bundles"),
        ({"safety": {"denied_topics": "job.a"}}, 400, "CONFIG_SCHEMA_VIOLATION", "safety.denied_topics"),
        ({"safety": {"allowed_topics": ["job.[a"]}}, 400, "CONFIG_SCHEMA_VIOLATION", "safety.allowed_topics"),
        ({"safety": {"mcp": {"deny_tools": "x"}}}, 400, "CONFIG_SCHEMA_VIOLATION", "safety.mcp.deny_tools"),
        ({"pools": {"topics": 3}}, 400, "CONFIG_SCHEMA_VIOLATION", "pools.topics"),
        (
            {"boundary": {"schema_enforcement": "on"}},
            400,
            "CONFIG_SCHEMA_VIOLATION",
            "boundary.schema_enforcement",
        ),
        ({"limits": 3}, 400, "CONFIG_SCHEMA_VIOLATION", "limits"),
        ({"scope": "system", "scope_id": "policy", "data": {"x": 1}}, 400, "CONFIG_SCHEMA_VIOLATION", "x"),
    ],
)
async def test_a_bad_write_names_its_fault_and_changes_nothing(
    as_person: Clients, snapshot: Snapshot, body: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    before = await snapshot()
    answer = await as_person("alice").post("/config", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (status, code, field)
    assert await snapshot() == before


async def test_documents_below_the_tenant_belong_to_their_first_writer(as_person: Clients) -> None:
    assert (
        await put(as_person("alice"), "team", "core", {"slo": {}}, meta={"tenant": "globex"})
    ).status_code == 204
    gina = as_person("gina")
    for answer in (await gina.get("/config?scope=team&scope_id=core"), await put(gina, "team", "core", {})):
        assert (answer.status_code, answer.json()["code"]) == (403, "CONFIG_KEY_FORBIDDEN")
    assert (await as_person("alice").get("/config?scope=team&scope_id=core")).json() == {"slo": {}}


async def test_who_may_only_read_sees_no_system_document_and_writes_nothing(as_person: Clients) -> None:
    vera = as_person("vera")
    assert (await vera.get("/config")).status_code == 403
    assert (await put(vera, "org", "acme", {})).status_code == 403
    assert (await vera.get("/config/effective")).status_code == 200
    missing = await vera.get("/config?scope=org")
    assert (missing.status_code, missing.json()["code"]) == (404, "CONFIG_NOT_FOUND")
    assert (await vera.get("/config/effective?org_id=globex")).status_code == 403


async def test_the_effective_configuration_joins_all_scopes(as_person: Clients) -> None:
    alice = as_person("alice")
    await put(alice, "system", "default", {"slo": {"critical": False}, "limits": {"max_concurrent_jobs": 5}})
    await put(alice, "org", "acme", {"slo": {"timeout_seconds": 9}, "limits": {"max_concurrent_jobs": 50}})
    await put(alice, "step", "flow/one", {"slo": {"timeout_seconds": 2}})
    await put(alice, "step", "one", {"slo": {"timeout_seconds": 3}})
    found = (await alice.get("/config/effective?workflow_id=flow&step_id=one")).json()
    assert found["version"] == "system:1|org:1|team:0|workflow:0|step:1"
    assert found["data"] == {
        "slo": {"critical": False, "timeout_seconds": 2},
        "limits": {"max_concurrent_jobs": 5},
    }
    assert len(found["hash"]) == 64
    other = (await alice.get("/config/effective?step_id=one")).json()
    assert other["data"]["slo"] == {"critical": False, "timeout_seconds": 3}


@pytest.mark.parametrize("route", ["evaluate", "simulate", "explain"])
async def test_the_configuration_of_a_tenant_restricts_its_requests(as_person: Clients, route: str) -> None:
    alice = as_person("alice")
    await put(alice, "org", "acme", {"safety": {"denied_topics": ["job.echo"]}})
    body = (await alice.post(f"/policy/{route}", json={"topic": "job.echo"})).json()
    assert body["decision"] == "DENY"
    assert body["reason"] == "topic 'job.echo' denied by effective config"
    assert (await alice.post(f"/policy/{route}", json={"topic": "job.other"})).json()["decision"] == "ALLOW"
    own = {"topic": "job.echo", "effective_config": {"safety": {}}}
    assert (await alice.post(f"/policy/{route}", json=own)).json()["decision"] == "ALLOW"
    foreign = await as_person("gina").post(f"/policy/{route}", json={"topic": "job.echo"})
    assert foreign.json()["decision"] == "ALLOW"


async def test_a_job_the_configuration_denies_is_refused_at_submit(as_person: Clients) -> None:
    alice = as_person("alice")
    await put(alice, "org", "acme", {"safety": {"allowed_topics": ["job.other"]}})
    answer = await alice.post("/jobs", json={"prompt": "x", "topic": "job.echo"})
    assert (answer.status_code, answer.json()["code"]) == (403, "policy_denied")
    assert answer.json()["error"] == "topic 'job.echo' not allowed by effective config"
    assert (await alice.post("/jobs", json={"prompt": "x", "topic": "job.other"})).status_code == 200


async def test_a_document_nobody_can_read_denies(as_person: Clients, redis: RedisClient) -> None:
    await redis.execute("SET", "cfg:org:globex", b"[not a document")
    gina = as_person("gina")

    async def denied() -> bool:
        body = (await gina.post("/policy/evaluate", json={"topic": "job.echo"})).json()
        return (body["decision"], body["reason"]) == ("DENY", "invalid effective config")

    assert await wait_until(denied)


async def test_every_write_is_in_the_audit_chain_without_its_values(as_person: Clients) -> None:
    alice = as_person("alice")
    await put(
        alice, "org", "acme", {"models": {"api_key": "hunter2"}, "safety": {"denied_topics": ["job.x"]}}
    )
    items = (await alice.get("/policy/audit?action=config.set")).json()["items"]
    assert len(items) == 1
    assert items[0]["extra"]["paths"] == "models,safety"
    assert items[0]["actor_id"] == "alice"
    assert b"hunter2" not in orjson.dumps(items)
    assert (await alice.get("/audit/verify")).json()["status"] == "ok"


async def test_a_whole_bundle_map_is_written_as_policy(as_person: Clients, gateway: GatewayProcess) -> None:
    alice = as_person("alice")
    content = (
        'version: "1"\nrules: [{id: from-pack, match: {topics: [job.packed]}, decision: deny, reason: no}]\n'
    )
    bundles = {"packs/demo": {"content": content, "version": "1.0.0", "installed_at": "2026-01-01T00:00:00Z"}}
    answer = await put(alice, "system", "policy", {"bundles": bundles})
    assert answer.status_code == 204, answer.text
    stored = (await alice.get("/config?scope=system&scope_id=policy&envelope=true")).json()["data"]["bundles"]
    assert stored["packs/demo"]["content"] == content
    assert stored["packs/demo"]["version"] == "1.0.0"
    broken = await put(alice, "system", "policy", {"bundles": {"packs/demo": {"content": "rules: 3"}}})
    assert (broken.status_code, broken.json()["code"]) == (400, "POLICY_VALIDATION_FAILED")
    assert (await put(alice, "system", "policy", {"bundles": {}})).status_code == 204
    assert (await alice.get("/policy/bundles")).json()["bundles"] == {}
