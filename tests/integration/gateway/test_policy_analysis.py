"""`POST /policy/analyze` through gateway and Redis."""

import httpx
import pytest

from tests.unit.cli.test_policy_lint import CLEAN, SHADOW


async def test_findings_come_with_a_request_that_the_engine_decided(alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/policy/analyze", json={"content": SHADOW})
    assert answer.status_code == 200, answer.text
    (finding,) = answer.json()["findings"]
    assert (finding["kind"], finding["rule"]["id"], finding["proof"]) == (
        "shadowed_rule",
        "never",
        "covered_by_one",
    )
    assert finding["witness"]["verdict"]["rule_id"] == "broad"


async def test_a_bundle_is_analysed_together_with_the_stored_ones(alice: httpx.AsyncClient) -> None:
    written = await alice.put("/policy/bundles/secops~a", json={"content": CLEAN})
    assert written.status_code == 200, written.text
    late = 'rules:\n  - {id: late, decision: deny, match: {topics: ["job.docs.drop"]}}\n'
    answer = await alice.post("/policy/analyze", json={"bundle_id": "secops/b", "content": late})
    assert [finding["rule"]["id"] for finding in answer.json()["findings"]] == ["late"]
    # Nothing was stored.
    assert (await alice.post("/policy/analyze", json={"bundle_id": "secops~b"})).status_code == 404


@pytest.mark.parametrize("body", [{}, {"content": 5}, {"content": "rules: [{decision: maybe}]"}])
async def test_what_is_no_policy_is_refused(alice: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await alice.post("/policy/analyze", json=body)).status_code == 400
