"""Past decisions over HTTP: listed, replayed under another policy, counted per rule. Real kernel, gateway, Redis."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from cordum.config.redis import RedisSettings
from cordum.protocol.cap import safety_pb2
from cordum.protocol.kernel_client import PolicyClient
from cordum.store.connection import RedisClient
from tests.support.gateway import POLICY, GatewayProcess, client, key_of
from tests.support.kernel import KernelProcess
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer

STRICTER = POLICY.replace("id: allow-rest", "id: allow-the-rest").replace(
    "rules:\n",
    'rules:\n  - {id: no-echo, match: {topics: [job.echo]}, decision: deny, reason: "not any more"}\n',
)


@pytest.fixture(scope="module")
def log_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of their own: other tests compare the whole store."""
    server = RedisServer(tmp_path_factory.mktemp("log") / "redis").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def log_kernel(tmp_path_factory: pytest.TempPathFactory, log_redis: RedisServer) -> Iterator[KernelProcess]:
    """A kernel that keeps its decisions."""
    kernel = KernelProcess(tmp_path_factory.mktemp("kernel"), POLICY, REDIS_URL=log_redis.url)
    kernel.start()
    yield kernel
    assert kernel.stop() == 0


@pytest.fixture(scope="module")
def log_gateway(
    tmp_path_factory: pytest.TempPathFactory,
    log_redis: RedisServer,
    log_kernel: KernelProcess,
    gateway_nats: str,
) -> Iterator[GatewayProcess]:
    """A gateway in front of both."""
    process = GatewayProcess(
        tmp_path_factory.mktemp("front"),
        REDIS_URL=log_redis.url,
        NATS_URL=gateway_nats,
        SAFETY_KERNEL_ADDR=log_kernel.address,
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def alice(log_gateway: GatewayProcess, log_redis: RedisServer) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator of a tenant without past."""
    store = await RedisClient.open(RedisSettings(url=log_redis.url))
    async with client(log_gateway, "alice") as opened:
        # Decisions are logged in their order, some time after the answer: with this one all of the past is there.
        await submit(opened, "job.last")
        await logged(opened, 1, topic="job.last")
        await store.execute("FLUSHALL")
        await store.close()
        yield opened


async def submit(person: httpx.AsyncClient, *topics: str) -> list[str]:
    """Submit a job per topic; return the ids of those that got one."""
    answers = [await person.post("/jobs", json={"prompt": "p", "topic": topic}) for topic in topics]
    return [answer.json().get("job_id", "") for answer in answers]


async def logged(person: httpx.AsyncClient, count: int, **query: str) -> list[dict[str, Any]]:
    """Wait until the log shows ``count`` decisions."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        answer = await person.get("/governance/decisions", params=query)
        assert answer.status_code == 200, answer.text
        found[:] = answer.json()["items"]
        return len(found) >= count

    await wait_until(is_there)
    return found


async def test_decisions_are_listed_newest_first_with_their_rule(alice: httpx.AsyncClient) -> None:
    first, second, third = await submit(alice, "job.echo", "job.blocked", "job.review")
    items = await logged(alice, 3)
    assert [(item["job_id"], item["verdict"], item["matched_rule"]) for item in items] == [
        (third, "require_approval", "hold-review"),
        (second, "deny", "deny-blocked"),
        (first, "allow", "allow-rest"),
    ]
    assert items[0]["approval_status"] == "pending"
    assert items[1]["reason"] == "this topic is blocked"
    assert items[1]["policy_version"].startswith("1:")


async def test_filters_and_cursor_walk_the_log_without_gap_or_repeat(alice: httpx.AsyncClient) -> None:
    ids = await submit(alice, *["job.echo"] * 5, "job.blocked")
    await logged(alice, 6)
    assert [item["job_id"] for item in await logged(alice, 1, verdict="deny")] == [ids[5]]
    assert [item["job_id"] for item in await logged(alice, 1, rule_id="deny-blocked")] == [ids[5]]
    assert len(await logged(alice, 5, topic="job.e*")) == 5
    seen: list[str] = []
    query: dict[str, str] = {"limit": "4"}
    while True:
        page = (await alice.get("/governance/decisions", params=query)).json()
        seen += [item["job_id"] for item in page["items"]]
        if "next_cursor" not in page:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]


async def test_a_tenant_sees_only_its_own_past(alice: httpx.AsyncClient, log_gateway: GatewayProcess) -> None:
    await submit(alice, "job.echo")
    await logged(alice, 1)
    async with client(log_gateway, "gina") as gina:
        assert (await gina.get("/governance/decisions")).json()["items"] == []
        answer = await gina.post(
            "/policy/replay", json={"use_current_policy": True, "filters": {"tenant": "acme"}}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_access_denied")


async def test_the_current_policy_changes_none_of_its_own_decisions(alice: httpx.AsyncClient) -> None:
    await submit(alice, "job.echo", "job.blocked", "job.review", "job.slow")
    await logged(alice, 4)
    answer = await alice.post("/policy/replay", json={"use_current_policy": True})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["changes"] == []
    assert body["summary"]["unchanged"] == body["summary"]["total_jobs"] == body["summary"]["evaluated"]
    assert body["summary"]["total_jobs"] >= 3


async def test_a_stricter_candidate_names_the_jobs_it_would_have_stopped(alice: httpx.AsyncClient) -> None:
    echo, _, other = await submit(alice, "job.echo", "job.blocked", "job.other")
    await logged(alice, 3)
    body = (await alice.post("/policy/replay", json={"candidate_content": STRICTER})).json()
    assert body["summary"]["escalated"] == 1
    assert body["summary"]["other_rule"] == 1, f"{other} is allowed by a renamed rule"
    change = body["changes"][0]
    assert (change["job_id"], change["original_decision"], change["new_decision"], change["direction"]) == (
        echo,
        "ALLOW",
        "DENY",
        "escalated",
    )
    assert (change["new_rule_id"], change["new_reason"]) == ("no-echo", "not any more")
    assert body["groups"][0]["examples"][0]["job_id"] == echo
    # The kernel may still have written a decision of the test before, after the store was emptied.
    assert {hit["rule_id"] for hit in body["rule_hits"]} >= {"no-echo", "deny-blocked", "allow-the-rest"}


async def test_a_candidate_bundle_is_merged_with_what_decides_now(alice: httpx.AsyncClient) -> None:
    await submit(alice, "job.echo", "job.blocked")
    await logged(alice, 2)
    bundle = "rules: [{id: hold-echo, match: {topics: [job.echo]}, decision: require_approval, reason: r}]"
    answer = await alice.post(
        "/policy/replay", json={"candidate_bundle_id": "secops~echo", "candidate_content": bundle}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert "cfg:" in body["policy_snapshot"]
    # The kernel's log may still bring rows of the test before.
    assert body["summary"]["total_jobs"] >= 2
    assert {hit["rule_id"] for hit in body["rule_hits"]} >= {"allow-rest", "deny-blocked"}, (
        "the base comes first"
    )


async def test_an_approved_hold_counts_as_an_override(
    alice: httpx.AsyncClient, log_gateway: GatewayProcess
) -> None:
    held, _ = await submit(alice, "job.review", "job.echo")
    await logged(alice, 2)
    async with client(log_gateway, "bob") as bob:
        assert (await bob.post(f"/approvals/{held}/approve", json={"reason": "ok"})).status_code == 200
    body = (await alice.post("/policy/analytics", json={})).json()
    figures = {rule["rule_id"]: rule for rule in body["rules"]}
    assert figures["hold-review"]["override_count"] == 1
    assert figures["hold-review"]["override_rate"] == 1.0
    assert figures["allow-rest"]["override_count"] == 0
    assert sum(figures["allow-rest"]["daily_hits"]) == figures["allow-rest"]["hit_count"] == 1
    assert body["summary"]["highest_override_rule_id"] == "hold-review"
    listed = await logged(alice, 1, verdict="require_approval")
    assert (listed[0]["approval_status"], listed[0]["approval_decision"]) == ("approved", "approve")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "candidate_content"),
        ({"candidate_content": 7}, "candidate_content"),
        ({"use_current_policy": "yes"}, "use_current_policy"),
        ({"use_current_policy": True, "from": "yesterday"}, "from"),
        ({"use_current_policy": True, "from": "2026-01-01T00:00:00Z", "to": "2026-01-09T00:00:00Z"}, "from"),
        ({"use_current_policy": True, "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"use_current_policy": True, "max_jobs": 0}, "max_jobs"),
        ({"use_current_policy": True, "filters": []}, "filters"),
        ({"use_current_policy": True, "filters": {"original_decision": "MAYBE"}}, None),
        ({"candidate_content": "rules: 7"}, None),
    ],
)
async def test_a_replay_that_cannot_be_run_is_refused(
    alice: httpx.AsyncClient, body: dict[str, Any], field: str | None
) -> None:
    answer = await alice.post("/policy/replay", json=body)
    assert answer.status_code == 400, answer.text
    assert field is None or answer.json()["field"] == field


@pytest.mark.parametrize("query", ["cursor=nonsense", "verdict=maybe", "since=never"])
async def test_a_query_that_makes_no_sense_is_refused(alice: httpx.AsyncClient, query: str) -> None:
    assert (await alice.get(f"/governance/decisions?{query}")).status_code == 400


async def test_a_viewer_without_the_right_is_refused(
    alice: httpx.AsyncClient, log_gateway: GatewayProcess
) -> None:
    async with client(log_gateway, "ulf") as ulf:
        assert (await ulf.post("/policy/replay", json={"use_current_policy": True})).status_code == 403


def cordumctl(gateway: GatewayProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the tool as alice."""
    return subprocess.run(
        [sys.executable, "-m", "cordum.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            **os.environ,
            "CORDUM_GATEWAY": gateway.url,
            "CORDUM_API_KEY": key_of("alice"),
            "CORDUM_TENANT_ID": "acme",
        },
    )


async def test_the_tool_shows_what_a_policy_would_have_changed(
    alice: httpx.AsyncClient, log_gateway: GatewayProcess, tmp_path: Path
) -> None:
    first, second, _ = await submit(alice, "job.echo", "job.echo", "job.blocked")
    await logged(alice, 3)
    candidate = tmp_path / "new.yaml"
    candidate.write_text(STRICTER)
    command = ("policy", "diff", str(candidate), "--against", "current", "--since", "1h")
    shown = await asyncio.to_thread(cordumctl, log_gateway, *command)
    assert shown.returncode == 0, shown.stderr
    assert "3 past jobs: 2 change verdict (2 stricter, 0 looser), 1 keep it" in shown.stdout
    assert "2 × ALLOW by allow-rest -> DENY by no-echo  (escalated)" in shown.stdout
    assert first in shown.stdout
    assert second in shown.stdout
    assert (await asyncio.to_thread(cordumctl, log_gateway, *command, "--exit-code")).returncode == 1
    as_json = await asyncio.to_thread(cordumctl, log_gateway, *command, "--json", "--was", "DENY")
    assert orjson.loads(as_json.stdout)["summary"]["total_jobs"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("FILE",), "--against current"),
        (("FILE", "--against", "current", "--since", "8d"), "at most 7 days"),
        (("FILE", "--against", "current", "--since", "soon"), "expected a duration"),
        (("missing.yaml", "--against", "current"), "no such file"),
        (("FILE", "--against", "current"), "status 400"),
    ],
)
async def test_the_tool_says_what_is_wrong(
    log_gateway: GatewayProcess, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("rules: 7")
    command = [str(bad) if argument == "FILE" else argument for argument in arguments]
    done = await asyncio.to_thread(cordumctl, log_gateway, "policy", "diff", *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


async def test_decisions_flow_while_the_log_cannot_be_written(tmp_path: Path) -> None:
    kernel = KernelProcess(tmp_path, POLICY, REDIS_URL="redis://127.0.0.1:1")
    kernel.start()
    try:
        asked = PolicyClient(kernel.address)
        request = safety_pb2.PolicyCheckRequest(job_id="one", topic="job.echo", tenant="acme")
        for _ in range(3):
            assert await asked.evaluate_batch([request.SerializeToString()], 2.0)
        await asked.close()
        await wait_until(
            lambda: "decision log cannot be written" in kernel.log_path.read_text(), timeout_s=10
        )
    finally:
        assert kernel.stop() == 0
