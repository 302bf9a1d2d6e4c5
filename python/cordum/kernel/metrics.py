"""Prometheus metrics of the safety kernel (policy spec §21)."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from cordum.runtime.shared_metrics import OUTPUT_EVAL_SECONDS

EVALUATION_SECONDS: Final = Histogram(
    "cordum_safety_eval_duration_seconds",
    "Time to answer one policy call.",
    ["rpc"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
OUTPUT_SECONDS: Final = OUTPUT_EVAL_SECONDS.labels("other")
"""The kernel does not know which topics are registered."""
DECISIONS: Final = Counter("cordum_safety_decisions_total", "Decisions, by decision.", ["decision"])
DEFAULT_DECISIONS: Final = Counter(
    "cordum_safety_default_decision_total", "Decisions no rule made, by decision.", ["decision"]
)
CACHE_LOOKUPS: Final = Counter(
    "cordum_safety_cache_total", "Looks into the decision cache, by result.", ["result"]
)
DELEGATION_MATCHES: Final = Counter(
    "safety_rule_delegation_match_total",
    "Delegation keys of rules that denied, by key.",
    ["field", "outcome"],
)
SCOPE_EVALUATIONS: Final = Counter(
    "cordum_safety_scope_evaluations_total", "Evaluations of scope rules, by result.", ["result"]
)
SCOPE_VIOLATIONS: Final = Counter(
    "cordum_safety_scope_violations_total", "Findings of scope rules, by intent and type.", ["intent", "type"]
)
REGEX_REJECTED: Final = Counter(
    "cordum_safety_regex_rejected_total", "Content patterns that are no linear-time pattern or too large."
)
SCANNER_FILE_REFUSED: Final = Gauge(
    "cordum_safety_scanner_file_refused", "1 while the scanner file has faults and older patterns count."
)
RELOADS: Final = Counter("cordum_safety_policy_reload_total", "Policy loads, by result.", ["result"])
POLICY_INFO: Final = Gauge("cordum_safety_policy_info", "1 for the active snapshot.", ["snapshot"])
SIGNATURE_FAILURES: Final = Counter(
    "cordum_policy_signature_failures_total", "Policies refused for their signature, by reason.", ["reason"]
)
DECISIONS_LOGGED: Final = Counter(
    "cordum_safety_decision_log_rows_total", "Decisions written to the decision log."
)
DECISIONS_DROPPED: Final = Counter(
    "cordum_safety_decision_log_dropped_total", "Decisions that did not reach the decision log.", ["reason"]
)
VELOCITY_CHECKS: Final = Counter(
    "cordum_safety_velocity_check_total", "Counts asked for, by rule and result.", ["rule_id", "result"]
)
VELOCITY_SECONDS: Final = Histogram(
    "cordum_safety_velocity_check_duration_seconds",
    "Time to get the counts of one round, by rule.",
    ["rule_id"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
)
