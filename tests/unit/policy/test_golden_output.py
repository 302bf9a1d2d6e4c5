"""The golden tables of the output policy, through Python (the same files run in Rust)."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from cordum._core import (
    PolicyEngine,
    check_outputs,
    output_pointers,
    output_settings,
    redact_output,
    simulate_output,
    validate_policy,
)
from cordum.v1.output_policy_pb2 import OutputCheckRequest, OutputCheckResponse, OutputDecision
from cordum.v1.safety_batch_pb2 import BatchRequest, BatchResponse

GOLDEN = Path(__file__).parents[2] / "golden" / "output"
# Put together here, so that the repository holds no token.
AWS = "AKIA" + "1234567890ABCDEF"
DECISIONS = {"ALLOW": 0, "QUARANTINE": 1, "REDACT": 2}
SECRETS = b"output_rules: [{id: stop, match: {scanners: [secret]}, decision: quarantine}]"


def load(file: str) -> list[Any]:
    cases = yaml.safe_load((GOLDEN / file).read_text())
    return [pytest.param(case, id=case["name"]) for case in cases]


def compile_case(case: dict[str, Any]) -> PolicyEngine:
    source = case["policy"].encode() if "policy" in case else None
    return PolicyEngine.compile(
        source, [(id_, text.encode()) for id_, text in case.get("bundles", {}).items()]
    )


def ask(engine: PolicyEngine, *requests: OutputCheckRequest, read: Any = ()) -> BatchResponse:
    batch = BatchRequest(requests=[request.SerializeToString() for request in requests])
    return BatchResponse.FromString(check_outputs(engine, batch.SerializeToString(), list(read)))


def to_request(fields: dict[str, Any]) -> OutputCheckRequest:
    request = OutputCheckRequest(job_id="j")
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(request, name).extend(value)
        elif name == "content":
            request.output_content = value.replace("${aws}", AWS).encode()
        else:
            setattr(request, name, value.replace("${aws}", AWS) if isinstance(value, str) else value)
    return request


@pytest.mark.parametrize("case", load("decision.yaml"))
def test_decisions(case: dict[str, Any]) -> None:
    engine = compile_case(case)
    request = to_request(case["request"])
    answer = ask(engine, request)
    assert answer.policy_snapshot == engine.snapshot
    response = OutputCheckResponse.FromString(answer.items[0].response)
    expect = case["expect"]
    assert response.decision == DECISIONS[expect["decision"]]
    assert response.policy_snapshot == engine.snapshot
    if "rule_id" in expect:
        assert response.rule_id == expect["rule_id"]
    if "reason" in expect:
        assert response.reason == expect["reason"]
    if "finding_count" in expect:
        assert len(response.findings) == expect["finding_count"]
    if "scanners" in expect:
        assert [finding.scanner for finding in response.findings] == expect["scanners"]
    if "detectors" in expect:
        assert [finding.matched_pattern for finding in response.findings] == expect["detectors"]
    if "places" in expect:
        assert [[finding.offset, finding.length] for finding in response.findings] == expect["places"]
    if "masked" in expect:
        spans = [(span.offset, span.length) for span in response.redaction_spans]
        assert (redact_output(request.output_content, spans) or b"").decode() == expect["masked"]
    simulated = orjson.loads(simulate_output(engine, request.SerializeToString()))
    assert (simulated["decision"], simulated["reason"]) == (expect["decision"], response.reason)
    if "trace" in expect:
        missed = [[step["rule_id"], step["why"]] for step in simulated["trace"] if not step["matched"]]
        assert missed == expect["trace"]


@pytest.mark.parametrize("case", load("redaction.yaml"))
def test_masked_copies(case: dict[str, Any]) -> None:
    copy = redact_output(case["content"].encode(), [tuple(span) for span in case["spans"]])
    assert copy is not None
    assert copy.decode() == case["masked"]


@pytest.mark.parametrize("case", load("validation.yaml"))
def test_documents(case: dict[str, Any]) -> None:
    errors = [f"{path}: {message}" for path, message, _ in validate_policy(case["policy"].encode())]
    assert errors == case["errors"]


def test_one_broken_request_fails_only_its_own_item() -> None:
    engine = PolicyEngine.compile(SECRETS)
    batch = BatchRequest(requests=[b"\xff", to_request({"content": "${aws}"}).SerializeToString(), b""])
    answer = BatchResponse.FromString(check_outputs(engine, batch.SerializeToString()))
    assert [item.code for item in answer.items] == [3, 0, 0]
    assert OutputCheckResponse.FromString(answer.items[1].response).rule_id == "stop"
    assert OutputCheckResponse.FromString(answer.items[2].response).reason == "missing request"


def test_a_pointer_is_read_only_where_a_rule_asks_for_content_and_must_be_read_then() -> None:
    engine = PolicyEngine.compile(
        b"output_rules: [{id: size, match: {topics: [job.small], output_size_gt: 9}, decision: deny},"
        b" {id: stop, match: {topics: [job.big], scanners: [secret]}, decision: deny}]"
    )
    small = OutputCheckRequest(
        job_id="a", topic="job.small", result_ptr="redis://res:a", output_size_bytes=10
    )
    big = OutputCheckRequest(job_id="b", topic="job.big", tenant="t", result_ptr="redis://res:b")
    batch = BatchRequest(requests=[small.SerializeToString(), big.SerializeToString()]).SerializeToString()
    assert output_pointers(engine, batch) == [(1, "b", "t", "redis://res:b")]
    assert [item.code for item in ask(engine, small, big).items] == [0, 9]
    failed = ask(engine, small, big, read=[(1, None, 5, "output content missing")])
    assert (failed.items[1].code, failed.items[1].error) == (5, "output content missing")
    read = ask(engine, small, big, read=[(1, (AWS.encode(), b"", len(AWS)), 0, "")])
    assert (
        OutputCheckResponse.FromString(read.items[1].response).decision
        == OutputDecision.OUTPUT_DECISION_QUARANTINE
    )


def test_content_that_was_scanned_in_part_is_never_redacted_and_says_so() -> None:
    engine = PolicyEngine.compile(b"output_rules: [{id: m, match: {scanners: [pii]}, decision: redact}]")
    request = OutputCheckRequest(job_id="b", result_ptr="redis://res:b", topic="job.x")
    cut = ask(engine, request, read=[(0, (b"x" * 50, b"to alice@example.com", 1_000), 0, "")])
    response = OutputCheckResponse.FromString(cut.items[0].response)
    assert response.decision == OutputDecision.OUTPUT_DECISION_QUARANTINE
    assert response.reason == "output larger than scan limit"
    assert [(f.type, f.offset) for f in response.findings] == [("pii", 983), ("content_truncated", 0)]
    clean = ask(engine, request, read=[(0, (b"x" * 50, b"y" * 20, 1_000), 0, "")])
    response = OutputCheckResponse.FromString(clean.items[0].response)
    assert response.decision == OutputDecision.OUTPUT_DECISION_ALLOW
    assert response.findings[0].detail == "content exceeded scan limit (70 bytes), truncated"


def test_no_policy_is_no_answer() -> None:
    assert [item.code for item in ask(PolicyEngine.empty(), to_request({"content": "x"})).items] == [14]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([b"output_policy: {enabled: true, fail_mode: open}"], (False, "open", False)),
        ([SECRETS], (True, None, False)),
        ([SECRETS + b"\noutput_policy: {enabled: true, fail_mode: open}"], (True, "open", False)),
        (
            [b"output_rules: [{id: e, match: {has_error: true, scanners: [pii]}, decision: redact}]"],
            (True, None, True),
        ),
        (
            [b"output_rules: [{id: e, match: {has_error: true}, enabled: false, decision: redact}]"],
            (False, None, False),
        ),
    ],
)
def test_what_the_documents_say_about_failures(
    documents: list[bytes], expected: tuple[bool, str | None, bool]
) -> None:
    assert output_settings(PolicyEngine.compile(documents[0])) == expected


def test_closed_from_any_document_wins() -> None:
    open_base = b"output_policy: {enabled: true, fail_mode: open}"
    bundles = [("pack/x", b"output_policy: {fail_mode: closed}")]
    assert output_settings(PolicyEngine.compile(open_base, bundles))[1] == "closed"
