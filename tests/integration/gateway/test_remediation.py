"""Taking what policy offers instead of a refused job (gateway spec §14.5)."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.gateway import GatewayProcess, client
from tests.support.kernel import KernelProcess

POLICY = """\
default_tenant: default
rules:
  - id: no-drop
    match: {topics: [job.db.drop]}
    decision: deny
    reason: never drop
    remediations:
      - {id: archive, title: Archive, replacement_topic: job.db.archive, replacement_capability: db.archive,
         add_labels: {mode: safe}, remove_labels: [force]}
      - {id: ask, title: Ask first, replacement_topic: job.db.ask}
  - id: no-write
    match: {topics: [job.db.write]}
    decision: deny
    remediations: [{id: readonly, replacement_topic: job.db.drop}]
  - {id: ask, match: {topics: [job.db.ask]}, decision: require_approval}
  - {id: rest, match: {topics: ["job.*"]}, decision: allow}
"""


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, gateway_redis: str, gateway_nats: str
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("remediation")
    kernel = KernelProcess(folder, POLICY)
    kernel.start()
    gateway = GatewayProcess(
        folder, SAFETY_KERNEL_ADDR=kernel.address, REDIS_URL=gateway_redis, NATS_URL=gateway_nats
    ).start()
    yield gateway
    gateway.stop()
    kernel.stop()


@pytest.fixture
async def alice(stack: GatewayProcess, redis: object) -> AsyncIterator[httpx.AsyncClient]:
    async with client(stack, "alice") as opened:
        yield opened


async def refused(person: httpx.AsyncClient, topic: str = "job.db.drop") -> str:
    body = {
        "topic": topic,
        "prompt": "drop it",
        "context": {"table": "t"},
        "labels": {"force": "yes", "team": "x"},
    }
    answer = await person.post("/jobs", json=body)
    assert answer.status_code == 403, answer.text
    return str(answer.json()["job_id"])


async def test_the_new_job_has_what_the_remediation_says(alice: httpx.AsyncClient) -> None:
    old = await refused(alice)
    offered = (await alice.get(f"/jobs/{old}")).json()["safety_remediations"]
    assert [offer["id"] for offer in offered] == ["archive", "ask"]
    answer = await alice.post(f"/jobs/{old}/remediate", json={"remediation_id": "archive"})
    assert answer.status_code == 200, answer.text
    new = (await alice.get(f"/jobs/{answer.json()['job_id']}")).json()
    assert (new["topic"], new["capability"], new["state"]) == ("job.db.archive", "db.archive", "PENDING")
    assert new["trace_id"] == answer.json()["trace_id"]
    assert new["context"]["context"] == {"table": "t"}
    labels = new["labels"]
    assert "force" not in labels
    assert (labels["mode"], labels["team"], labels["remediation_of"]) == ("safe", "x", old)
    assert (await alice.get(f"/jobs/{old}")).json()["state"] == "DENIED"


async def test_policy_judges_the_new_job_afresh(alice: httpx.AsyncClient) -> None:
    denied = await alice.post(f"/jobs/{await refused(alice, 'job.db.write')}/remediate")
    assert (denied.status_code, denied.json()["code"]) == (403, "policy_denied")
    held = await alice.post(f"/jobs/{await refused(alice)}/remediate", json={"remediation_id": "ask"})
    assert (held.status_code, held.json()["status"]) == (200, "approval_required")


async def test_a_key_takes_an_offer_once(alice: httpx.AsyncClient) -> None:
    old = await refused(alice)
    headers = {"Idempotency-Key": "k1"}
    answers = [
        await alice.post(f"/jobs/{old}/remediate", json={"remediation_id": "archive"}, headers=headers)
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    other = await alice.post(f"/jobs/{old}/remediate", json={"remediation_id": "ask"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")


async def test_what_cannot_be_taken_is_said(alice: httpx.AsyncClient) -> None:
    old = await refused(alice)
    several = await alice.post(f"/jobs/{old}/remediate", json={})
    assert (several.status_code, several.json()["error"]) == (
        400,
        "remediation_id: expected one of archive, ask",
    )
    unknown = await alice.post(f"/jobs/{old}/remediate", json={"remediation_id": "pray"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "remediation_not_found")
    absent = await alice.post("/jobs/nobody/remediate", json={"remediation_id": "archive"})
    assert (absent.status_code, absent.json()["code"]) == (404, "job_not_found")
    odd = await alice.post(f"/jobs/{old}/remediate", json={"remediation_id": 7})
    assert odd.status_code == 400
    allowed = (await alice.post("/jobs", json={"topic": "job.fine", "prompt": "x"})).json()["job_id"]
    nothing = await alice.post(f"/jobs/{allowed}/remediate")
    assert (nothing.status_code, nothing.json()["error"]) == (409, "no remediations available")
