"""The published `cordum-guard`, unchanged, against the running system (policy spec §24)."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from cordum_guard import CordumClient, guard
from cordum_guard.exceptions import CordumAuthError, CordumBlockedError, CordumConnectionError
from cordum_guard.langchain import CordumToolGuard
from langchain_core.tools import BaseTool

from tests.support.processes import free_port, wait_until
from tests.support.stack import API_KEY, APPROVER_KEY, Stack

pytestmark = pytest.mark.slow


@pytest.fixture
def client(stack: Stack) -> Iterator[CordumClient]:
    """The guard's client with a submitter's key."""
    with CordumClient(stack.http_url, api_key=API_KEY) as opened:
        yield opened


@pytest.fixture
async def approver(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody else, who may approve."""
    async with stack.http(APPROVER_KEY) as opened:
        yield opened


def guarded(client: CordumClient, capability: str, *tags: str, timeout_s: float = 30.0) -> "list[str]":
    """Call a guarded function; return what it did."""
    done: list[str] = []

    @guard(client, capability=capability, risk_tags=list(tags), policy="tests", timeout=timeout_s)
    def act() -> None:
        done.append(capability)

    act()
    return done


async def test_an_allowed_call_runs_with_and_without_constraints(client: CordumClient) -> None:
    assert await asyncio.to_thread(guarded, client, "harmless") == ["harmless"]
    assert await asyncio.to_thread(guarded, client, "limited") == ["limited"]


async def test_a_denied_call_is_blocked_with_the_reason_and_remediations_of_the_rule(
    client: CordumClient,
) -> None:
    with pytest.raises(CordumBlockedError, match="deleting is not for agents") as blocked:
        await asyncio.to_thread(guarded, client, "delete_everything")
    decision = blocked.value.decision
    assert decision.matched_rules == ["guard-delete"]
    assert decision.remediations[0]["replacement_capability"] == "archive"


async def test_a_production_guard_reads_every_answer_it_knows(stack: Stack) -> None:
    with CordumClient(stack.http_url, api_key=API_KEY, production_profile=True) as strict:
        assert strict.evaluate_policy(capability="harmless").decision.value == "allow"
        assert strict.evaluate_policy(capability="burst").throttle_duration_seconds == 5
        refused = strict.evaluate_policy(capability="limited")
        assert refused.decision.value == "deny"


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_a_held_call_waits_for_a_person(
    stack: Stack, client: CordumClient, approver: httpx.AsyncClient, verdict: str
) -> None:
    if verdict == "approve":
        # The only worker of its pool: one that ended with its test would still be offered jobs for a while.
        await stack.worker("job.guard", worker_id="guard-approve", pool="guard")
    async with asyncio.TaskGroup() as group:
        call = group.create_task(asyncio.to_thread(attempt, client))

        async def waiting() -> str:
            items = (await approver.get("/approvals")).json()["items"]
            return next((str(item["job_id"]) for item in items if item["topic"] == "job.guard"), "")

        job_id = await wait_until(waiting)
        answer = await approver.post(f"/approvals/{job_id}/{verdict}", json={"reason": "tested"})
        assert answer.status_code == 200, answer.text
    assert call.result() == ("ran" if verdict == "approve" else "blocked")


def attempt(client: CordumClient) -> str:
    try:
        guarded(client, "pay", "money")
    except CordumBlockedError:
        return "blocked"
    return "ran"


async def test_a_throttled_call_runs_after_the_pause_it_was_told(client: CordumClient) -> None:
    decision = await asyncio.to_thread(client.evaluate_policy, capability="burst")
    assert (decision.decision.value, decision.throttle_duration_seconds) == ("throttle", 5)
    assert decision.reason == "not so fast"


async def test_a_guard_without_gateway_or_with_a_wrong_key_lets_nothing_run(stack: Stack) -> None:
    with (
        CordumClient(f"http://127.0.0.1:{free_port()}", api_key=API_KEY) as lost,
        pytest.raises(CordumConnectionError),
    ):
        await asyncio.to_thread(guarded, lost, "harmless")
    with CordumClient(stack.http_url, api_key="x" * 64) as stranger, pytest.raises(CordumAuthError):
        await asyncio.to_thread(guarded, stranger, "harmless")


class Eraser(BaseTool):
    name: str = "delete_everything"
    description: str = "Erases all there is."

    def _run(self) -> str:
        return "erased"


class Reader(BaseTool):
    name: str = "read_something"
    description: str = "Reads."

    def _run(self) -> str:
        return "read"


async def test_a_wrapped_tool_is_blocked_or_runs_as_policy_says(client: CordumClient) -> None:
    eraser, reader = CordumToolGuard(client, policy="tests").wrap([Eraser(), Reader()])
    assert (
        await asyncio.to_thread(eraser.run, {}) == "[BLOCKED] delete_everything: deleting is not for agents"
    )
    assert await asyncio.to_thread(reader.run, {}) == "read"
