"""`cordumctl policy` against a real gateway, kernel and Redis (CLI spec §12)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from cordum.store.connection import RedisClient
from tests.support.command_line import run_cordumctl as run
from tests.support.gateway import POLICY, GatewayProcess, client
from tests.support.processes import wait_until

CONTENT = """\
input_rules:
  - id: no-ddl
    match: {topics: [job.sql], content_patterns: ["(?i)drop\\\\s+schema"]}
    decision: deny
    reason: destructive statement
"""
LIMITED = """\
rules:
  - id: limited
    match: {topics: [job.docs], capabilities: [docs.build], risk_tags: [write], labels: {env: prod}}
    decision: allow_with_constraints
    constraints: {budgets: {max_retries: 1}}
"""
STOP = "# kept to the byte\nrules:\n  - {id: allow-rest, match: {topics: ['job.*']}, decision: deny}\n"
FAILING = "tests:\n  - {name: stays open, request: {topic: job.open}, expect: {decision: DENY}}\n"
STACK_POLICY = POLICY.replace("rules:\n", LIMITED, 1) + CONTENT


@pytest.fixture
async def alice(stack: GatewayProcess, redis: RedisClient) -> AsyncIterator[httpx.AsyncClient]:
    async with client(stack, "alice") as opened:
        # The kernel may still hold bundles of the test before, which the emptied store no longer has.
        await decides(opened, "job.open", "ALLOW")
        yield opened


async def decides(person: httpx.AsyncClient, topic: str, wanted: str) -> None:
    async def is_so() -> bool:
        answer = await person.post("/policy/simulate", json={"topic": topic})
        return bool(answer.json()["decision"] == wanted)

    await wait_until(is_so)


async def put(person: httpx.AsyncClient, bundle_id: str, content: str, **fields: Any) -> None:
    answer = await person.put(f"/policy/bundles/{bundle_id}", json={"content": content, **fields})
    assert answer.status_code == 200, answer.text


async def test_the_running_policy_says_decision_rule_and_reason(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    for verb in ("evaluate", "simulate", "explain"):
        code, out, err = await run(stack, "policy", verb, "--topic", "job.blocked")
        lines = out.splitlines()
        assert (code, err) == (0, ""), verb
        assert lines[0].split() == ["DECISION", "RULE", "REASON"]
        assert lines[1] == "DENY      deny-blocked  this topic is blocked"
    code, out, _ = await run(stack, "policy", "simulate", "--topic", "job.blocked", "--json")
    answer = orjson.loads(out)
    assert (code, answer["decision"], answer["matched_rules"]) == (0, "DENY", ["deny-blocked"])
    code, out, _ = await run(stack, "-o", "yaml", "policy", "evaluate", "--topic", "job.blocked")
    assert (code, yaml.safe_load(out)["rule_id"]) == (0, "deny-blocked")
    code, out, _ = await run(stack, "policy", "evaluate", "-o=id", "--topic=job.blocked")
    assert (code, out) == (0, "deny-blocked\n")
    _, out, _ = await run(stack, "policy", "evaluate", "--topic", "job.blocked", "--no-headers")
    assert out.startswith("DENY")


async def test_every_part_of_a_request_reaches_the_policy(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    parts = ["--capability", "docs.build", "--risk-tags", "read, write", "--labels", '{"env":"prod"}']
    code, out, err = await run(stack, "policy", "simulate", "--topic", "job.docs", *parts)
    assert (code, out.splitlines()[1].split()[:2]) == (0, ["ALLOW_WITH_CONSTRAINTS", "limited"])
    assert err == 'constraints: {"budgets": {"maxRetries": 1}}\n'
    code, out, _ = await run(stack, "policy", "simulate", "--topic", "job.docs", *parts[:4])
    assert out.splitlines()[1].split()[:2] == ["ALLOW", "allow-rest"]
    for given in ('{"q":"Drop schema x"}', '["drop schema x"]'):
        _, out, _ = await run(stack, "policy", "evaluate", "--topic", "job.sql", "--input", given)
        assert out.splitlines()[1].split()[:2] == ["DENY", "no-ddl"]
        _, out, _ = await run(
            stack, "policy", "evaluate", "--topic", "job.sql", "--input", "-", "--json", stdin=given
        )
        assert orjson.loads(out)["reason"].startswith("destructive statement: ")


async def test_explain_tells_of_each_rule_why_it_did_not_match(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    code, out, _ = await run(stack, "policy", "explain", "--topic", "job.review")
    decision, trace = out.split("\n\n")
    rows = {line.split()[0]: line for line in trace.splitlines()[1:]}
    assert (code, decision.splitlines()[1].split()[0]) == (0, "REQUIRE_APPROVAL")
    assert list(rows) == ["limited", "deny-blocked", "hold-review"]
    assert rows["deny-blocked"].split()[2] == "no"
    assert 'topics "job.review" is not glob ["job.blocked"]' in rows["deny-blocked"]
    assert rows["hold-review"].split()[2] == "yes"
    _, out, _ = await run(stack, "policy", "explain", "--topic", "job.review", "--json")
    assert [e["matched"] for e in orjson.loads(out)["evaluation_path"]] == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--topic", "job.blocked", "--expect", "deny"), 0, ""),
        (("--topic", "job.review", "--expect", "require-approval"), 0, ""),
        (
            ("--topic", "job.blocked", "--expect", "ALLOW"),
            1,
            "error: expected ALLOW, got DENY by rule `deny-blocked`\n",
        ),
        (("--topic", "mail.send", "--expect", "ALLOW"), 1, "error: expected ALLOW, got DENY by no rule\n"),
    ],
)
async def test_another_decision_than_expected_exits_1(
    stack: GatewayProcess, alice: httpx.AsyncClient, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, out, err = await run(stack, "policy", "simulate", *arguments)
    assert (found, err) == (code, message)
    assert out.startswith("DECISION")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate",), "Missing option '--topic'"),
        (("simulate", "--topic", " "), "error: --topic: expected a topic"),
        (("simulate", "--topic", "job.a", "--labels", '{"n":1}'), "--labels: value of `n` must be a string"),
        (("evaluate", "--topic", "job.a", "--labels", "[]"), "--labels: expected a JSON object"),
        (("explain", "--topic", "job.a", "--input", "{"), "--input: not valid JSON"),
        (("explain", "--topic", "job.a", "--input", "no/file"), "--input: cannot read `no/file`"),
        (("evaluate", "--topic", "job.a", "--expect", "MAYBE"), "--expect: expected one of ALLOW, DENY"),
        (("evaluate", "--topic", "job.a", "--actor-type", "robot"), "--actor-type: expected one of human"),
        (("simulate", "--topic", "job.a", "--content", "x"), "--content: expected --bundle with it"),
        (("get", " "), "BUNDLE_ID: expected the id of a bundle"),
        (("get",), "usage: cordumctl policy get <bundle_id>"),
        (("rollback", " "), "SNAPSHOT: expected the id of a snapshot"),
        (("bundles", "surplus"), "usage: cordumctl policy bundles"),
        (("bundles", "-o", "xml"), "Invalid value for '--output'"),
        (("publish", "--ids", "x"), "unknown option `--ids`: the nearest known one is `--id`"),
    ],
)
async def test_a_wrong_argument_is_named_before_anything_is_sent(
    stack: GatewayProcess, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = await run(stack, "policy", *arguments, CORDUM_GATEWAY="http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert message.lower() in err.lower()


async def test_bundles_are_listed_and_printed_byte_for_byte(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    assert await run(stack, "policy", "bundles") == (0, "no policy bundles\n", "")
    assert await run(stack, "policy", "bundles", "--json") == (0, "[]\n", "")
    await put(alice, "secops~stop", STOP, enabled=False)
    code, out, _ = await run(stack, "policy", "bundles")
    header, row = out.splitlines()
    assert (code, header.split()) == (0, ["ID", "ENABLED", "SOURCE", "RULES", "AUTHOR", "UPDATED"])
    assert row.split()[:5] == ["secops/stop", "no", "secops", "1", "alice"]
    assert await run(stack, "policy", "bundles", "-o", "id") == (0, "secops/stop\n", "")
    assert await run(stack, "policy", "get", "secops/stop") == (0, STOP, "")
    assert await run(stack, "policy", "get", "secops~stop") == (0, STOP, "")
    _, out, _ = await run(stack, "policy", "get", "secops/stop", "--json")
    assert orjson.loads(out)["rules"][0]["id"] == "allow-rest"
    code, out, err = await run(stack, "policy", "get", "secops/none")
    assert (code, out) == (1, "")
    assert err.startswith("error: status 404: bundle not found (code not_found, request ")


async def test_publish_and_rollback_print_the_snapshot_and_how_to_undo(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    await put(alice, "secops~stop", STOP, enabled=False)
    assert await run(stack, "policy", "snapshots") == (0, "no snapshots of bundles\n", "")
    code, out, err = await run(stack, "policy", "publish", "--dry-run")
    assert code == 0
    assert "stricter: ALLOW by allow-rest -> DENY by allow-rest" in out
    assert "would publish secops/stop; nothing is stored\n" in err
    assert await run(stack, "policy", "snapshots", "--json") == (0, "[]\n", "")
    code, out, err = await run(stack, "policy", "publish", "--id", "secops/stop", "--message", "incident 12")
    after = out.strip()
    assert code == 0
    assert "published secops/stop\n" in err
    before = err.split("cordumctl policy rollback ")[1].splitlines()[0]
    await decides(alice, "job.open", "DENY")
    code, out, _ = await run(stack, "policy", "snapshots")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["ID", after, before])
    assert out.splitlines()[1].split()[2:] == ["alice", "secops/stop", "incident", "12"]
    code, out, err = await run(stack, "policy", "rollback", before, "--message", "too much")
    assert code == 0
    assert await run(stack, "policy", "snapshots", "-o", "id", "--no-headers") == (
        0,
        (await alice_snapshots(alice)),
        "",
    )
    assert (await alice_snapshots(alice)).startswith(out)
    assert f"rolled back to {before}\n" in err
    await decides(alice, "job.open", "ALLOW")
    audit = (await alice.get("/policy/audit")).json()["items"]
    told = [(entry["action"], entry.get("message")) for entry in audit]
    assert told[:2] == [("policy.rollback", "too much"), ("policy.publish", "incident 12")]


async def alice_snapshots(alice: httpx.AsyncClient) -> str:
    items = (await alice.get("/policy/bundles/snapshots")).json()["items"]
    return "".join(f"{item['id']}\n" for item in items)


async def test_a_bundle_can_be_tried_before_it_is_enabled(
    stack: GatewayProcess, alice: httpx.AsyncClient, tmp_path: Path
) -> None:
    await put(alice, "secops~stop", STOP, enabled=False)
    ask = ("policy", "simulate", "--topic", "job.open", "--bundle", "secops/stop", "--expect")
    assert (await run(stack, *ask, "DENY"))[0] == 0
    other = tmp_path / "other.yaml"
    other.write_text(STOP.replace("deny}", "throttle}"))
    assert (await run(stack, *ask, "THROTTLE", "--content", str(other)))[0] == 0
    other.write_text("rules: [{decision: maybe}]")
    code, out, err = await run(stack, *ask, "DENY", "--content", str(other))
    assert (code, out) == (1, "")
    assert "bundle secops/stop: rules[0].decision: must be one of" in err
    await decides(alice, "job.open", "ALLOW")


async def test_a_refused_write_says_why(stack: GatewayProcess, alice: httpx.AsyncClient) -> None:
    code, out, err = await run(stack, "policy", "publish")
    assert (code, out) == (1, "")
    assert err.startswith("error: status 400: no bundles configured (code ")
    await put(alice, "secops~stop", STOP, enabled=False)
    code, _, err = await run(stack, "policy", "publish", "--id", "secops/none")
    assert err.startswith("error: status 400: bundle_ids: unknown bundle `secops/none` (code ")
    code, _, err = await run(stack, "policy", "rollback", "never")
    assert (code, err.startswith("error: status 404: snapshot not found")) == (1, True)
    code, out, err = await run(stack, "policy", "publish", who="vera")
    assert (code, out, "status 403: access denied" in err) == (1, "", True)
    await put(alice, "secops~stop", STOP + FAILING.replace("DENY", "ALLOW"), enabled=False)
    code, out, err = await run(stack, "policy", "publish", "--dry-run")
    assert code == 1
    assert "would be refused" in err
    code, out, err = await run(stack, "policy", "publish")
    assert (code, out) == (1, "")
    assert "failed: secops/stop: stays open: expected ALLOW, got DENY by allow-rest" in err
    assert "POLICY_TESTS_FAILED" in err
    code, out, err = await run(stack, "policy", "publish", "--skip-tests")
    assert (code, out.strip() in err) == (0, False)
    await decides(alice, "job.open", "DENY")


async def test_snapshots_of_the_kernel_are_those_decisions_name(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    _, out, _ = await run(stack, "policy", "evaluate", "--topic", "job.open", "--json")
    decided = orjson.loads(out)["policy_snapshot"]
    code, out, _ = await run(stack, "policy", "snapshots", "--kernel")
    assert (code, out.splitlines()[1].split()) == (0, [decided, "yes"])


async def test_verbose_tells_requests_and_never_the_key(
    stack: GatewayProcess, alice: httpx.AsyncClient
) -> None:
    code, _, err = await run(stack, "policy", "bundles", "--verbose")
    assert code == 0
    assert err.startswith("GET /api/v1/policy/bundles: 200 in ")
    assert "key-of-" not in err
