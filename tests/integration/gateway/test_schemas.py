"""Schemas over HTTP and payloads at submit (gateway spec §14.1, §20; packs spec §6)."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, client
from tests.support.kernel import KernelProcess
from tests.support.processes import wait_until

Clients = Callable[..., httpx.AsyncClient]
BILL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer", "minimum": 1}, "note": {"type": "string"}},
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def strict_gateway(
    tmp_path_factory: pytest.TempPathFactory,
    policy_kernel: KernelProcess,
    gateway_redis: str,
    gateway_nats: str,
) -> Iterator[GatewayProcess]:
    """A gateway on the same store that refuses payloads that do not fit."""
    folder: Path = tmp_path_factory.mktemp("strict")
    process = GatewayProcess(
        folder,
        REDIS_URL=gateway_redis,
        NATS_URL=gateway_nats,
        SAFETY_KERNEL_ADDR=policy_kernel.address,
        SCHEMA_ENFORCEMENT="enforce",
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def free_again(redis: RedisClient, gateway: GatewayProcess) -> AsyncIterator[None]:
    """Afterwards the gateway knows of no topic."""
    yield
    await redis.execute("DEL", "cfg:system:topics")
    async with client(gateway, "alice") as alice:

        async def free() -> bool:
            answer = await alice.post("/jobs", json={"prompt": "x", "topic": "job.unheard.of"})
            return answer.status_code == 200

        assert await wait_until(free)


async def register(caller: httpx.AsyncClient, schema_id: str, schema: Any) -> httpx.Response:
    return await caller.post("/schemas", json={"id": schema_id, "schema": schema})


async def test_a_schema_is_registered_listed_shown_and_deleted(
    as_person: Clients, redis: RedisClient
) -> None:
    bob, vera = as_person("bob"), as_person("vera")
    named = BILL | {"$id": "https://schemas.test/bill"}
    assert (await register(bob, "shop/bill", named)).status_code == 204
    assert (await register(bob, "plain-v1", {"type": "array"})).status_code == 204
    assert (await vera.get("/schemas")).json() == {"schemas": ["plain-v1", "shop/bill"]}
    assert (await vera.get("/schemas?limit=1")).json() == {"schemas": ["plain-v1"]}
    for path in ("/schemas/shop/bill", "/schemas/shop%2Fbill"):
        assert (await vera.get(path)).json() == {"id": "shop/bill", "schema": named}
    assert await redis.execute("GET", "schema:url:https://schemas.test/bill") == b"shop/bill"
    assert (await register(bob, "shop/bill", BILL)).status_code == 204
    assert await redis.execute("GET", "schema:url:https://schemas.test/bill") is None
    assert (await vera.get("/schemas")).json()["schemas"][0] == "shop/bill"
    assert (await bob.delete("/schemas/shop%2Fbill")).status_code == 204
    for answer in (await bob.delete("/schemas/shop%2Fbill"), await vera.get("/schemas/shop/bill")):
        assert (answer.status_code, answer.json()["code"]) == (404, "CONFIG_SCHEMA_NOT_FOUND")
    audited = [entry["action"] for entry in (await as_person("alice").get("/audit/events")).json()["items"]]
    assert audited.count("schema.register") == 3
    assert audited.count("schema.delete") == 1


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"schema": {}}, "id"),
        ({"id": "", "schema": {}}, "id"),
        ({"id": "a b", "schema": {}}, "id"),
        ({"id": "x" * 257, "schema": {}}, "id"),
        ({"id": "a"}, "schema"),
        ({"id": "a", "schema": []}, "schema"),
        ({"id": "a", "schema": {"type": "strin"}}, "schema is not valid"),
        ({"id": "a", "schema": {"$ref": "https://169.254.169.254/x"}}, "not registered"),
        ({"id": "a", "schema": {"$ref": "file:///etc/passwd"}}, "not registered"),
        ({"id": "a", "schema": {"description": "x" * 300_000}}, "too large"),
    ],
)
async def test_what_is_no_schema_is_refused(
    as_person: Clients, snapshot: Callable[[], Any], body: dict[str, Any], word: str
) -> None:
    before = await snapshot()
    answer = await as_person("bob").post("/schemas", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "CONFIG_SCHEMA_VIOLATION")
    assert word in answer.json()["error"]
    assert await snapshot() == before


async def test_a_schema_may_refer_to_registered_ones(as_person: Clients) -> None:
    bob = as_person("bob")
    line = {"$id": "https://schemas.test/line", "type": "integer"}
    whole = {"type": "array", "items": {"$ref": "https://schemas.test/line"}}
    assert (await register(bob, "whole", whole)).status_code == 400
    assert (await register(bob, "line", line)).status_code == 204
    assert (await register(bob, "whole", whole)).status_code == 204
    stolen = await register(bob, "thief", line)
    assert (stolen.status_code, stolen.json()["code"]) == (409, "CONFIG_SCHEMA_VIOLATION")


async def test_viewers_only_read(as_person: Clients) -> None:
    vera = as_person("vera")
    assert (await register(vera, "a", {})).status_code == 403
    assert (await vera.delete("/schemas/a")).status_code == 403
    assert (await as_person("ulf").get("/schemas")).status_code == 403


async def prepare(alice: httpx.AsyncClient, redis: RedisClient) -> None:
    pools = {"topics": {}, "pools": {"shop": {}}}
    document = {"scope": "system", "scope_id": "default", "data": {"pools": pools}, "revision": 1}
    await redis.execute("SET", "cfg:system:default", orjson.dumps(document))
    assert (await register(alice, "shop/bill", BILL)).status_code == 204
    for name, schema_id in (("job.bill", "shop/bill"), ("job.lost", "shop/lost")):
        body = {"name": name, "pool": "shop", "input_schema_id": schema_id}
        assert (await alice.post("/topics", json=body)).status_code == 201


@pytest.mark.usefixtures("free_again")
async def test_enforced_schemas_refuse_payloads_that_do_not_fit(
    as_person: Clients, redis: RedisClient, strict_gateway: GatewayProcess
) -> None:
    await prepare(as_person("alice"), redis)
    async with client(strict_gateway, "alice") as alice:

        async def known() -> bool:
            return (await alice.post("/jobs", json={"prompt": "x", "topic": "job.none"})).status_code == 400

        assert await wait_until(known)
        job = {"prompt": "x", "topic": "job.bill", "idempotency_key": "one"}
        bad = await alice.post("/jobs", json=job | {"context": {"note": 3, "amount": 0, "extra": 1}})
        assert (bad.status_code, bad.json()["code"]) == (400, "schema_validation_failed")
        assert [violation["path"] for violation in bad.json()["violations"]] == ["$", "/amount", "/note"]
        # No context: the whole document is looked at.
        assert (await alice.post("/jobs", json=job)).status_code == 400
        # The refused ones did not use up the key.
        fine = await alice.post("/jobs", json=job | {"context": {"amount": 3}})
        assert fine.status_code == 200, fine.text
        # A schema that is not there is the operator's fault, which the scheduler reports.
        assert (await alice.post("/jobs", json={"prompt": "x", "topic": "job.lost"})).status_code == 200
        used = await alice.delete("/schemas/shop%2Fbill")
        assert (used.status_code, used.json()["topics"]) == (409, ["job.bill"])
        loose = {"type": "object"}
        assert (await register(alice, "shop/bill", loose)).status_code == 204

        async def changed() -> bool:
            answer = await alice.post("/jobs", json={"prompt": "x", "topic": "job.bill", "context": {"q": 1}})
            return answer.status_code == 200

        assert await wait_until(changed)


@pytest.mark.usefixtures("free_again")
async def test_warned_payloads_pass_and_are_told(
    as_person: Clients, redis: RedisClient, gateway: GatewayProcess
) -> None:
    alice = as_person("alice")
    await prepare(alice, redis)
    job = {"prompt": "x", "topic": "job.bill", "context": {"amount": "hunter2"}}
    assert (await alice.post("/jobs", json=job)).status_code == 200
    log = gateway.log_path.read_text()
    told = [orjson.loads(line) for line in log.splitlines() if '"schema_validation_failed"' in line]
    assert told[-1]["violations"] == [{"path": "/amount", "message": 'value is not of type "integer"'}]
    assert "hunter2" not in log
    # The system configuration may set the mode where the environment does not.
    boundary = {"boundary": {"schema_enforcement": "enforce"}}
    assert (await alice.post("/config", json=boundary)).status_code == 204
    assert (await alice.post("/jobs", json=job)).status_code == 400
    assert (await alice.post("/config", json={"boundary": {"schema_enforcement": "off"}})).status_code == 204
    assert (await alice.post("/jobs", json=job)).status_code == 200
