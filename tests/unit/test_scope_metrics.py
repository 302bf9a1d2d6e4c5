"""Scope rules count what they find, by intent and type (policy spec §7.3)."""

from typing import Any

import orjson
from prometheus_client import REGISTRY

from cordum._core import PolicyEngine
from cordum.kernel.decision_report import DecisionReport
from cordum.protocol.cap import PolicyCheckRequest

POLICY = b"""\
version: "1"
default_decision: allow
input_rules:
  - id: only-what-was-asked
    match:
      topics: [job.*]
      scope:
        instruction_path: ask
        items_path: things
        category_path: kind
        name_path: name
        allowed_categories: {buy fruit: [apple]}
"""


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"cordum_safety_scope_{name}_total", labels) or 0.0


def test_results_and_findings_are_counted_when_a_call_is_reported() -> None:
    engine = PolicyEngine.compile(POLICY)
    report = DecisionReport(engine.snapshot, engine.delegation_fields, engine.take_scope_counts)
    watched: list[tuple[str, dict[str, str]]] = [
        ("evaluations", {"result": "allow"}),
        ("evaluations", {"result": "deny"}),
        ("evaluations", {"result": "error"}),
        ("violations", {"intent": "buy fruit", "type": "scope_violation"}),
        ("violations", {"intent": "unknown", "type": "ambiguous_intent"}),
        ("violations", {"intent": "unknown", "type": "malformed_payload"}),
        ("violations", {"intent": "unknown", "type": "missing_input"}),
    ]
    before = [counted(name, **labels) for name, labels in watched]

    def ask(content: Any) -> None:
        raw = content if isinstance(content, bytes) else orjson.dumps(content)
        request = PolicyCheckRequest(
            job_id="j", topic="job.a", tenant="t", input_content=raw, input_content_type="application/json"
        ).SerializeToString()
        report.one(request, engine.evaluate(request), 0.0)

    apple, pear = {"name": "a", "kind": "apple"}, {"name": "p", "kind": "pear"}
    ask({"ask": "buy fruit", "things": [apple]})
    ask({"ask": "please Buy-Fruit", "things": [apple, pear, pear]})
    ask({"ask": "sell", "things": [apple]})
    ask({"ask": "buy fruit"})
    ask(b"[1]")
    changes = [counted(name, **labels) - old for (name, labels), old in zip(watched, before, strict=True)]
    assert changes == [1, 2, 2, 2, 1, 1, 1]


def test_a_policy_without_scope_rules_is_not_asked() -> None:
    assert PolicyEngine.compile(b'version: "1"\ndefault_decision: allow\n').take_scope_counts() is None
