"""The answers of the kernel as callers read them (policy spec §17.2, §23)."""

import pytest

from cordum.domain.errors import InvalidInput
from cordum.gateway.policy_check import check_request, decision_json
from cordum.protocol.cap import PolicyCheckResponse
from cordum.security.principal import Caller


@pytest.mark.parametrize("number", [0, 6, 99])
def test_a_decision_nobody_knows_reads_as_a_denial(number: int) -> None:
    response = PolicyCheckResponse(decision=number, rule_id="r")
    body = decision_json(response, eval_time_ms=0.1, warnings=[], redacted=False)
    assert (body["decision"], body["decision_type"]) == ("DENY", "DECISION_TYPE_DENY")


def test_a_topic_the_kernel_would_refuse_is_the_fault_of_the_question() -> None:
    caller = Caller(tenant="acme", role="admin", principal="alice")
    question, _ = check_request({"topic": "job." + "a" * 4_092}, caller)
    assert len(question.topic) == 4_096
    with pytest.raises(InvalidInput, match="topic: expected at most 4096 bytes"):
        check_request({"topic": "job." + "a" * 4_093}, caller)
