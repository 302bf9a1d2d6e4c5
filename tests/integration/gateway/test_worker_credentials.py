"""Worker credentials over HTTP and from the command line (gateway spec §17, scheduler spec §19.2, CLI spec §8)."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nats.aio.client import Client

from cordum.protocol import subjects
from cordum.protocol.cap import BusPacket
from cordum.security.worker_tokens import token_fits
from cordum.store.config_documents import ConfigDocuments
from cordum.store.connection import RedisClient
from tests.support.gateway import GatewayProcess, key_of

Clients = Callable[..., httpx.AsyncClient]
Snapshot = Callable[[], Awaitable[dict[str, Any]]]
PATH = "/workers/credentials"


@pytest.fixture(autouse=True)
async def routing(redis: RedisClient) -> None:
    """Pools and topics a credential may name."""
    await ConfigDocuments(redis).put(
        "system",
        "default",
        {"pools": {"topics": {"job.ocr.scan": ["ocr"]}, "pools": {"vision": {}}}},
        expected_revision=0,
        updated_at="2026-01-01T00:00:00Z",
    )
    await ConfigDocuments(redis).put(
        "system",
        "topics",
        {"job.extra": {"name": "job.extra", "pool": "extra"}},
        expected_revision=0,
        updated_at="2026-01-01T00:00:00Z",
    )


async def issue(client: httpx.AsyncClient, worker_id: str = "w-1", **body: Any) -> httpx.Response:
    return await client.post(PATH, json={"worker_id": worker_id, **body})


async def stored(redis: RedisClient) -> dict[str, Any]:
    raw = await redis.execute("GET", "cfg:system:workers")
    return dict(orjson.loads(raw)["data"]) if raw else {}


def public_pem(curve: ec.EllipticCurve | None = None) -> str:
    key = ec.generate_private_key(curve or ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_a_token_is_shown_once_and_kept_as_a_hash(as_person: Clients, redis: RedisClient) -> None:
    alice = as_person("alice")
    answer = await issue(
        alice, "w-ocr-1", allowed_pools=["vision", " ocr", "ocr"], allowed_topics=["job.ocr.*", "job.extra"]
    )
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    shown = answer.json()
    token = shown.pop("token")
    assert shown.pop("created_at").endswith("Z")
    assert shown == {
        "worker_id": "w-ocr-1",
        "tenant_id": "acme",
        "allowed_pools": ["ocr", "vision"],
        "allowed_topics": ["job.extra", "job.ocr.*"],
        "created_by": "alice",
    }
    record = (await stored(redis))["w-ocr-1"]
    assert token_fits(record["credential_hash"], token)
    assert (record["revoked_at"], record["pack_id"], record["agent_id"]) == ("", "", "")
    (listed,) = (await alice.get(PATH)).json()["items"]
    assert "token" not in listed
    assert "credential_hash" not in listed
    assert listed["allowed_pools"] == ["ocr", "vision"]


async def test_rotation_kills_the_old_token_and_keeps_limits_nobody_named(
    as_person: Clients, redis: RedisClient
) -> None:
    alice = as_person("alice")
    first = (await issue(alice, allowed_pools=["ocr"], allowed_topics=["job.ocr.scan"])).json()["token"]
    answer = await issue(alice, allowed_topics=[])
    assert answer.status_code == 200
    assert (answer.json()["allowed_pools"], answer.json()["allowed_topics"]) == (["ocr"], [])
    record = (await stored(redis))["w-1"]
    assert not token_fits(record["credential_hash"], first)
    assert token_fits(record["credential_hash"], answer.json()["token"])


async def test_revoking_keeps_the_record_and_issuing_again_makes_it_count_again(
    as_person: Clients, redis: RedisClient
) -> None:
    alice = as_person("alice")
    await issue(alice)
    assert (await alice.delete(f"{PATH}/w-1")).status_code == 204
    (listed,) = (await alice.get(PATH)).json()["items"]
    assert listed["revoked_at"].endswith("Z")
    revision = orjson.loads(await redis.execute("GET", "cfg:system:workers"))["revision"]
    assert (await alice.delete(f"{PATH}/w-1")).status_code == 204
    assert orjson.loads(await redis.execute("GET", "cfg:system:workers"))["revision"] == revision
    answer = await issue(alice)
    assert (answer.status_code, "revoked_at" in answer.json()) == (200, False)


async def test_credentials_of_another_tenant_do_not_exist(as_person: Clients, snapshot: Snapshot) -> None:
    alice, gina, root = as_person("alice"), as_person("gina"), as_person("root")
    await issue(alice)
    before = await snapshot()
    for answer in (await issue(gina), await gina.delete(f"{PATH}/w-1"), await alice.delete(f"{PATH}/w-2")):
        assert (answer.status_code, answer.json()["code"]) == (404, "WORKER_CRED_NOT_FOUND")
    assert (await gina.get(PATH)).json() == {"items": []}
    refused = await issue(gina, "w-9", tenant_id="acme")
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_access_denied")
    assert await snapshot() == before
    assert [one["worker_id"] for one in (await root.get(PATH)).json()["items"]] == ["w-1"]
    answer = await issue(root)
    assert (answer.status_code, answer.json()["tenant_id"]) == (200, "acme")
    assert (await issue(root, "w-3", tenant_id="globex")).json()["tenant_id"] == "globex"


@pytest.mark.parametrize("who", ["bob", "vera", "ulf"])
async def test_only_admins_see_and_make_credentials(as_person: Clients, who: str) -> None:
    person = as_person(who)
    for answer in (await person.get(PATH), await issue(person), await person.delete(f"{PATH}/w-1")):
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"worker_id": ""}, 400, "WORKER_CRED_BINDING_INVALID", "worker_id"),
        ({"worker_id": 7}, 400, "WORKER_CRED_BINDING_INVALID", "worker_id"),
        ({"worker_id": "a b"}, 400, "WORKER_CRED_BINDING_INVALID", "worker_id"),
        ({"worker_id": "ä"}, 400, "WORKER_CRED_BINDING_INVALID", "worker_id"),
        ({"worker_id": "w" * 257}, 400, "WORKER_CRED_BINDING_INVALID", "worker_id"),
        ({"allowed_pools": "ocr"}, 400, "WORKER_CRED_BINDING_INVALID", "allowed_pools"),
        ({"allowed_pools": ["p"] * 101}, 400, "WORKER_CRED_BINDING_INVALID", "allowed_pools"),
        ({"allowed_topics": ["t" * 129]}, 400, "WORKER_CRED_BINDING_INVALID", "allowed_topics"),
        ({"allowed_topics": [1]}, 400, "WORKER_CRED_BINDING_INVALID", "allowed_topics"),
        ({"allowed_pools": ["nowhere"]}, 404, "POOL_NOT_FOUND", None),
        ({"allowed_topics": ["job.nowhere"]}, 404, "TOPIC_NOT_FOUND", None),
        ({"agent_id": "nobody"}, 400, "WORKER_CRED_BINDING_INVALID", "agent_id"),
        ({"agent_id": "foreign"}, 400, "WORKER_CRED_BINDING_INVALID", "agent_id"),
        ({"agent_id": "retired"}, 400, "WORKER_CRED_BINDING_INVALID", "agent_id"),
        ({"proof_key_id": "k"}, 400, "WORKER_CRED_BINDING_INVALID", "proof_key_id"),
        (
            {"proof_key_id": "k", "proof_public_key_pem": "no pem", "agent_id": "mine"},
            *(400, "WORKER_CRED_BINDING_INVALID", "proof_public_key_pem"),
        ),
        (
            {"proof_key_id": "k", "proof_public_key_pem": public_pem(ec.SECP384R1()), "agent_id": "mine"},
            *(400, "WORKER_CRED_BINDING_INVALID", "proof_public_key_pem"),
        ),
        (
            {"proof_key_id": "k", "proof_public_key_pem": public_pem()},
            *(400, "WORKER_CRED_BINDING_INVALID", "agent_id"),
        ),
        ({"proof_algorithm": "RSA"}, 400, "WORKER_CRED_BINDING_INVALID", "proof_algorithm"),
    ],
)
async def test_what_cannot_be_issued_changes_nothing(
    as_person: Clients,
    redis: RedisClient,
    snapshot: Snapshot,
    body: dict[str, Any],
    status: int,
    code: str,
    field: str | None,
) -> None:
    await redis.execute("SET", "agent:identity:mine", b'{"tenant":"acme","status":"active"}')
    await redis.execute("SET", "agent:identity:foreign", b'{"tenant":"globex"}')
    await redis.execute("SET", "agent:identity:retired", b'{"tenant":"acme","status":"revoked"}')
    before = await snapshot()
    answer = await issue(as_person("alice"), **body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (status, code, field)
    assert await snapshot() == before


async def test_a_proof_key_is_kept_with_its_agent(as_person: Clients, redis: RedisClient) -> None:
    await redis.execute("SET", "agent:identity:mine", b'{"tenant":"acme"}')
    pem = public_pem()
    answer = await issue(as_person("alice"), agent_id="mine", proof_key_id="key-1", proof_public_key_pem=pem)
    assert answer.status_code == 201, answer.text
    record = (await stored(redis))["w-1"]
    assert (record["agent_id"], record["proof_key_id"]) == ("mine", "key-1")
    assert record["proof_algorithm"] == "ECDSA_P256_SHA256"
    assert record["proof_public_key_pem"] == pem.strip()


async def test_issues_at_the_same_time_all_arrive(as_person: Clients, redis: RedisClient) -> None:
    alice = as_person("alice")
    names = [f"w-{number}" for number in range(8)]
    answers = await asyncio.gather(*(issue(alice, name) for name in names))
    assert {answer.status_code for answer in answers} == {201}
    assert sorted(await stored(redis)) == names
    assert (await alice.get("/audit/verify")).json()["status"] == "ok"


async def test_every_change_is_told_and_remembered(as_person: Clients, bus: Client) -> None:
    notices = await bus.subscribe(subjects.CONFIG_CHANGED)
    await bus.flush()
    alice = as_person("alice")
    await issue(alice, allowed_pools=["ocr"])
    await issue(alice)
    await alice.delete(f"{PATH}/w-1")
    for _ in range(3):
        packet = BusPacket.FromString((await notices.next_msg(timeout=5)).data)
        details = dict(packet.alert.details)
        assert (details["scope"], details["scope_id"]) == ("system", "workers")
    events = (await alice.get("/audit/events", params={"event_type": "worker_trust_change"})).json()["items"]
    assert [(event["action"], event["severity"]) for event in events] == [
        ("credential_revoked", "HIGH"),
        ("credential_rotated", "MEDIUM"),
        ("credential_issued", "MEDIUM"),
    ]
    assert {event["extra"]["worker_id"] for event in events} == {"w-1"}
    assert events[0]["identity"] == "alice"


async def test_the_command_line_issues_lists_and_revokes(
    as_person: Clients, gateway: GatewayProcess, redis: RedisClient, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CORDUM_")},
            "CORDUM_GATEWAY": gateway.url,
            "CORDUM_API_KEY": key_of("alice"),
            "CORDUM_TENANT_ID": "acme",
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "cordum.cli.main", "worker", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)

    empty = await asyncio.to_thread(run, "credential", "list")
    assert (empty.returncode, empty.stdout) == (0, "no worker credentials\n")
    made = await asyncio.to_thread(run, "credential", "create", "w-1", "--allowed-pools", "ocr,vision")
    assert made.returncode == 0, made.stderr
    assert "Store this token now; it is not shown again." in made.stderr
    assert "w-1" in made.stderr
    record = (await stored(redis))["w-1"]
    assert token_fits(record["credential_hash"], made.stdout.strip())
    file = tmp_path / "w-1.token"
    rotated = await asyncio.to_thread(run, "credential", "create", "--worker-id", "w-1", "--out", str(file))
    assert (rotated.returncode, rotated.stdout) == (0, "")
    assert "rotated" in rotated.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert token_fits((await stored(redis))["w-1"]["credential_hash"], file.read_text().strip())
    revoked = await asyncio.to_thread(run, "credential", "revoke", "w-1")
    assert (revoked.returncode, revoked.stdout) == (0, 'Credential for "w-1" revoked\n')
    listed = await asyncio.to_thread(run, "credential", "list")
    header, row = listed.stdout.splitlines()
    assert header.split("  ")[0] == "WORKER ID"
    assert row.split()[:4] == ["w-1", "revoked", "ocr,vision", "-"]
