"""A batch stops where a count is needed and goes on with the answer (policy spec §13)."""

import pytest

from cordum._core import PolicyEngine
from cordum.protocol.cap import safety_pb2
from cordum.v1 import safety_batch_pb2

RULES = b"""
rules:
  - id: "a:b"
    decision: throttle
    reason: slow down
    velocity: {max_requests: 3, window_seconds: 60, key: "tenant:topic"}
  - {id: open, decision: allow}
"""


def _batch(*job_ids: str) -> bytes:
    requests = [
        safety_pb2.PolicyCheckRequest(job_id=job_id, topic="job.a", tenant="t").SerializeToString()
        for job_id in job_ids
    ]
    return safety_batch_pb2.BatchRequest(requests=requests).SerializeToString()


def _rules_of(response: bytes) -> list[tuple[int, str]]:
    items = safety_batch_pb2.BatchResponse.FromString(response).items
    answers = [safety_pb2.PolicyCheckResponse.FromString(item.response) for item in items]
    return [(answer.decision, answer.rule_id) for answer in answers]


def test_every_answer_leads_to_its_own_decision() -> None:
    engine = PolicyEngine.compile(RULES)
    evaluation = engine.begin(_batch("1", "2", "3", "4"))
    needs = evaluation.needs
    assert engine.has_velocity
    assert [(item, member) for item, _, _, member, _, _ in needs] == [(0, "1"), (1, "2"), (2, "3"), (3, "4")]
    assert {need[1] for need in needs} == {"a:b"}
    assert all(need[2].startswith("a_b~") and ":t_job.a~" in need[2] for need in needs)
    assert {need[4:] for need in needs} == {(3, 60)}
    with pytest.raises(ValueError, match="counts are missing"):
        evaluation.response()
    evaluation.answer([0, 1, 2, 3])
    assert evaluation.needs == []
    kind = safety_pb2
    assert _rules_of(evaluation.response()) == [
        (kind.DECISION_TYPE_ALLOW, "open"),
        (kind.DECISION_TYPE_THROTTLE, "a:b"),
        (kind.DECISION_TYPE_REQUIRE_HUMAN, "a:b"),
        (kind.DECISION_TYPE_ALLOW, "open"),
    ]


def test_the_search_goes_on_to_the_next_velocity_rule() -> None:
    second = b"rules: [{id: v, velocity: {max_requests: 1, window_seconds: 5, key: tenant}}]"
    evaluation = PolicyEngine.compile(RULES, [("velocity/v", second)]).begin(_batch("1"))
    assert [need[1] for need in evaluation.needs] == ["a:b"]
    evaluation.answer([0])
    assert [need[1] for need in evaluation.needs] == ["v"]
    evaluation.answer([1])
    assert _rules_of(evaluation.response()) == [(safety_pb2.DECISION_TYPE_DENY, "v")]


def test_a_wrong_number_of_answers_is_refused() -> None:
    evaluation = PolicyEngine.compile(RULES).begin(_batch("1"))
    with pytest.raises(ValueError, match="expected 1 answers"):
        evaluation.answer([])
    with pytest.raises(ValueError, match="must be 0, 1, 2 or 3"):
        evaluation.answer([7])
