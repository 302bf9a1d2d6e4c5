"""The answers of the kernel as callers read them (policy spec §17.2, §23)."""

import pytest

from cordum.gateway.policy_check import decision_json
from cordum.protocol.cap import PolicyCheckResponse


@pytest.mark.parametrize("number", [0, 6, 99])
def test_a_decision_nobody_knows_reads_as_a_denial(number: int) -> None:
    response = PolicyCheckResponse(decision=number, rule_id="r")
    body = decision_json(response, eval_time_ms=0.1, warnings=[], redacted=False)
    assert (body["decision"], body["decision_type"]) == ("DENY", "DECISION_TYPE_DENY")
