"""The golden tables of the policy engine, through Python (the same files run in Rust)."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from cordum._core import PolicyEngine, PolicyError, validate_policy
from cordum.protocol.cap import PolicyCheckRequest, PolicyCheckResponse, safety_pb2
from cordum.v1.safety_batch_pb2 import BatchRequest, BatchResponse

GOLDEN = Path(__file__).parents[2] / "golden" / "policy"
CASE_KEYS = {
    "name", "policy", "bundles", "errors", "error_starts", "compile_errors", "warnings", "request", "expect",
    "tells_delegation", "agents", "lines",
}  # fmt: skip
DECISIONS = {
    "ALLOW": 1,
    "DENY": 2,
    "REQUIRE_APPROVAL": 3,
    "THROTTLE": 4,
    "ALLOW_WITH_CONSTRAINTS": 5,
}


def load_cases() -> list[Any]:
    cases = []
    for file in sorted(GOLDEN.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text()):
            unknown = set(case) - CASE_KEYS
            assert not unknown, f"{file.name}: {case['name']}: unknown fields {unknown}"
            cases.append(pytest.param(case, id=f"{file.stem}: {case['name']}"))
    return cases


def compile_case(case: dict[str, Any]) -> PolicyEngine:
    source = case["policy"].encode() if "policy" in case else None
    bundles = [(id_, text.encode()) for id_, text in case.get("bundles", {}).items()]
    return PolicyEngine.compile(source, bundles, case.get("tells_delegation", False))


def agents_of(case: dict[str, Any]) -> list[tuple[str, tuple[str, str, str, list[str]] | None]] | None:
    """The agents looked up for the request of a case; None when every agent is unknown."""
    if "agents" not in case:
        return None
    names = ("tenant", "status", "risk_tier")
    return [
        (id_, record and (*(record.get(name, "") for name in names), record.get("data_classifications", [])))
        for id_, record in case["agents"].items()
    ]


def compile_errors(case: dict[str, Any]) -> list[str]:
    try:
        compile_case(case)
    except PolicyError as error:
        return joined(error.errors)
    return []


def joined(errors: list[tuple[str, str, int]]) -> list[str]:
    return [f"{path}: {message}" if path else message for path, message, _ in errors]


def to_request(fields: dict[str, Any]) -> PolicyCheckRequest:
    request = PolicyCheckRequest()
    for name, value in fields.items():
        if name in ("effective_config", "input_content"):
            setattr(request, name, value.encode())
        elif name == "labels":
            request.labels.update(value)
        elif name in ("meta", "identity"):
            for key, item in value.items():
                if isinstance(item, list):
                    getattr(getattr(request, name), key).extend(item)
                else:
                    setattr(getattr(request, name), key, item)
        else:
            setattr(request, name, value)
    return request


def flat_constraints(response: PolicyCheckResponse) -> dict[str, Any] | None:
    if not response.HasField("constraints"):
        return None
    flat: dict[str, Any] = {}
    for key, value in MessageToDict(response.constraints, preserving_proto_field_name=True).items():
        leaves = value if isinstance(value, dict) else {key: value}
        for leaf, inner in leaves.items():
            flat[leaf] = int(inner) if leaf.startswith("max_") else inner
    return flat


def check_response(response: PolicyCheckResponse, expect: dict[str, Any], engine: PolicyEngine) -> None:
    assert response.policy_snapshot == engine.snapshot
    for key, value in expect.items():
        if key == "decision":
            assert response.decision == DECISIONS[value]
        elif key == "constraints":
            assert flat_constraints(response) == value
        elif key == "snapshot":
            assert response.policy_snapshot == value
        elif key == "remediations":
            got = [MessageToDict(item, preserving_proto_field_name=True) for item in response.remediations]
            assert got == value
        elif key == "identity":
            assert MessageToDict(response.identity, preserving_proto_field_name=True) == value
        else:
            assert key in {"reason", "rule_id", "approval_required", "approval_ref"}, f"unknown field {key}"
            assert getattr(response, key) == value, key


@pytest.mark.parametrize("case", load_cases())
def test_golden_case(case: dict[str, Any]) -> None:
    if "errors" in case:
        assert joined(validate_policy(case["policy"].encode())) == case["errors"]
    if "lines" in case:
        assert [str(line) for _, _, line in validate_policy(case["policy"].encode())] == case["lines"]
    if "error_starts" in case:
        (error,) = joined(validate_policy(case["policy"].encode()))
        assert error.startswith(case["error_starts"])
    if "compile_errors" in case:
        assert compile_errors(case) == case["compile_errors"]
    if "warnings" in case:
        assert compile_case(case).warnings == case["warnings"]
    if "request" in case:
        engine = compile_case(case)
        request = to_request(case["request"]).SerializeToString()
        response = PolicyCheckResponse.FromString(engine.evaluate(request, agents_of(case)))
        check_response(response, case["expect"], engine)


def test_at_least_a_hundred_and_twenty_cases_are_kept() -> None:
    assert len(load_cases()) >= 120


def test_the_text_of_an_error_joins_all_of_them() -> None:
    with pytest.raises(PolicyError) as caught:
        PolicyEngine.compile(b"version: 1\nrules: 2")
    assert str(caught.value) == "version: must be a string; rules: must be a list"


def test_no_source_at_all_is_an_error() -> None:
    with pytest.raises(PolicyError, match="no policy source was given"):
        PolicyEngine.compile()


def test_the_empty_engine_denies_everything() -> None:
    engine = PolicyEngine.empty()
    request = PolicyCheckRequest(job_id="j", topic="job.a").SerializeToString()
    response = PolicyCheckResponse.FromString(engine.evaluate(request))
    assert (response.decision, response.reason) == (2, "no policy loaded — fail-closed")
    assert engine.snapshot == ""
    assert engine.rule_count == 0


def test_a_batch_answers_in_order_and_a_broken_request_fails_its_own_item() -> None:
    engine = PolicyEngine.compile(b"rules: [{id: r, decision: allow, match: {topics: [job.a]}}]")
    good = PolicyCheckRequest(job_id="j", topic="job.a").SerializeToString()
    other = PolicyCheckRequest(job_id="k", topic="job.b").SerializeToString()
    batch = BatchRequest(requests=[good, b"\x0a\xff", other])
    answer = BatchResponse.FromString(engine.evaluate_batch(batch.SerializeToString()))
    assert [item.code for item in answer.items] == [0, 3, 0]
    assert answer.items[0].response == engine.evaluate(good)
    assert answer.items[2].response == engine.evaluate(other)
    assert answer.items[1].response == b""
    assert answer.items[1].error
    assert answer.policy_snapshot == engine.snapshot


def test_a_batch_of_more_than_512_requests_is_refused() -> None:
    engine = PolicyEngine.empty()
    assert len(BatchResponse.FromString(engine.evaluate_batch(batch_of(512))).items) == 512
    with pytest.raises(ValueError, match="too many requests"):
        engine.evaluate_batch(batch_of(513))


def batch_of(count: int) -> bytes:
    return BatchRequest(requests=[b""] * count).SerializeToString()


def test_bytes_that_are_no_request_are_refused() -> None:
    engine = PolicyEngine.empty()
    with pytest.raises(ValueError, match="request ends inside a field"):
        engine.evaluate(b"\x0a\x05a")
    with pytest.raises(ValueError, match="utf-8"):
        engine.evaluate(b"\x12\x01\xff")


def test_an_explanation_shows_why_each_rule_did_or_did_not_match() -> None:
    engine = PolicyEngine.compile(
        b"rules:\n"
        b"  - {id: a, decision: deny, match: {topics: [job.x], tenants: [default]}}\n"
        b"  - {id: b, decision: allow}\n"
    )
    request = PolicyCheckRequest(topic="job.a").SerializeToString()
    explanation = yaml.safe_load(engine.explain(request))
    assert explanation["decision"] == "ALLOW"
    path = explanation["evaluation_path"]
    assert [(element["rule_id"], element["matched"]) for element in path] == [("a", False), ("b", True)]
    conditions = [(condition["field"], condition["passed"]) for condition in path[0]["conditions"]]
    assert conditions == [("topics", False), ("tenants", True)]


def test_an_explanation_shows_the_lists_of_mcp_and_the_reason_of_the_default() -> None:
    engine = PolicyEngine.compile(
        b"default_decision: allow\n"
        b"rules: [{id: a, decision: deny, match: {mcp: {allow_tools: [Drop], deny_servers: [s]}}}]\n"
    )
    request = PolicyCheckRequest(topic="job.a", labels={"mcp.tool": "List"}).SerializeToString()
    element, default = yaml.safe_load(engine.explain(request))["evaluation_path"]
    assert element["conditions"] == [
        {
            "field": "mcp",
            "operator": "mcp",
            "expected": {"allow_tools": ["drop"], "deny_servers": ["s"]},
            "actual": {"server": "", "tool": "List", "resource": "", "action": ""},
            "passed": False,
        }
    ]
    assert (default["rule_id"], default["decision"]) == ("default", "allow")
    assert default["reason"] == "no matching rule — default policy: allow"


def test_the_response_type_is_the_published_one() -> None:
    assert PolicyCheckResponse is safety_pb2.PolicyCheckResponse
