"""One running system for the whole folder; a test owns its topics, pools and worker ids."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.processes import wait_until
from tests.support.stack import Stack, StackOptions

_TOPICS = {
    "job.default": "default",
    "job.test.wild.one": "wild",
    "job.test.wild.two": "wild",
    "job.test.dots": "dots",
    "job.test.shared": "shared",
    "job.test.failing": "failing",
    "job.test.client": "client",
    "job.guard": "guard",
    "job.test.partial.a": "partial",
    "job.test.partial.b": "partial",
}
_ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "DENIED", "TIMEOUT", "OUTPUT_QUARANTINED"}

POLICY = """\
version: "1"
default_tenant: default
default_decision: deny
rules:
  - id: guard-delete
    match: {topics: [job.guard], capabilities: [delete_everything]}
    decision: deny
    reason: deleting is not for agents
    remediations: [{id: archive, title: Archive instead, replacement_capability: archive}]
  - id: guard-pay
    match: {topics: [job.guard], capabilities: [pay], risk_tags: [money]}
    decision: require_approval
    reason: a person decides about money
  - id: guard-burst
    match: {topics: [job.guard], capabilities: [burst]}
    decision: throttle
    reason: not so fast
  - id: guard-limited
    match: {topics: [job.guard], capabilities: [limited]}
    decision: allow
    constraints: {budgets: {max_retries: 1}}
  - id: guard-rest
    match: {topics: [job.guard]}
    decision: allow
  - id: allow-tests
    match: {topics: ["job.test.**", "job.default"]}
    decision: allow
"""

Submit = Callable[..., Awaitable[str]]
Ended = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture(scope="package")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The system, with the gateway and one scheduler."""
    options = StackOptions(policy=POLICY, topics=_TOPICS)
    stack = Stack(tmp_path_factory.mktemp("conformance"), options)
    try:
        asyncio.run(stack.start())
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The system; workers a test starts end with it."""
    yield shared_stack
    while shared_stack.workers:
        shared_stack.workers.pop().stop()


@pytest_asyncio.fixture
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway with an admin's key."""
    async with stack.http() as client:
        yield client


@pytest.fixture
def submit(http: httpx.AsyncClient) -> Submit:
    """Submit a job over HTTP and return its id; arguments are members of the body."""

    async def send(**body: object) -> str:
        response = await http.post("/jobs", json={"prompt": "do it", **body})
        assert response.status_code == 200, response.text
        return str(response.json()["job_id"])

    return send


@pytest.fixture
def ended(http: httpx.AsyncClient) -> Ended:
    """Wait for the end of a job and return its detail as REST shows it."""

    async def wait(job_id: str) -> dict[str, Any]:
        async def detail() -> dict[str, Any] | None:
            response = await http.get(f"/jobs/{job_id}")
            found: dict[str, Any] = response.json() if response.status_code == 200 else {}
            return found if found.get("state") in _ENDED else None

        result: dict[str, Any] = await wait_until(detail, timeout_s=20, interval_s=0.05)
        return result

    return wait
