"""Metrics of output checks (output policy spec §13)."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from cordum.runtime.shared_metrics import OUTPUT_EVAL_SECONDS

Check = tuple[str, str, str, str, str, int, int, Sequence[tuple[str, str]]]
"""Tenant, job id, topic label, decision, rule id, ms, µs of evaluation, findings as (detector, severity)."""

_DETECTORS_MAX: Final = 500

QUARANTINED = Counter("cordum_output_policy_quarantined_total", "Jobs quarantined, once per job", ["topic"])
DENIALS = Counter("cordum_output_denials_total", "Checks that denied or quarantined", ["topic"])
REDACTIONS = Counter("cordum_output_redactions_total", "Results masked, once per job", ["topic"])
CHECKED = Counter("cordum_output_policy_checked_total", "Checks made", ["topic"])
EVALUATIONS = Counter("cordum_output_evaluations_total", "Evaluations", ["topic"])
SKIPPED = Counter("cordum_output_policy_skipped_total", "Results that passed unchecked", ["topic"])
ASYNC_ERRORS = Counter("cordum_output_policy_async_timeout_total", "Later scans without an answer", ["topic"])
CHECK_SECONDS = Histogram(
    "cordum_output_check_latency_seconds",
    "Time of a check with reading and call",
    ["topic", "phase"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
FINDINGS = Counter("cordum_output_findings_total", "Findings in results", ["detector", "severity"])
SCAN_BYTES = Counter("cordum_output_scan_bytes_total", "Bytes of results read to be scanned")
PENDING = Gauge("cordum_output_pending", "Results that wait for a check or a scan here")
ERROR_TEXTS = Gauge(
    "cordum_output_error_texts_checked", "1 while a rule asks for errors, as far as the kernel told"
)

_detectors: set[str] = set()


def observe_phase(topics: Iterable[tuple[str, int]], phase: str, seconds: float) -> None:
    """Measure a phase that results of these topic labels, each with their number, went through together."""
    for topic, number in topics:
        histogram = CHECK_SECONDS.labels(topic, phase)
        for _ in range(number):
            histogram.observe(seconds)


def note_skipped(topics: Iterable[str]) -> None:
    """Count results that passed unchecked, given by their topic label."""
    for topic, number in Tally(topics).items():
        SKIPPED.labels(topic).inc(number)


def note(checks: Iterable[Check]) -> None:
    """Count committed checks."""
    skipped: list[str] = []
    for _, _, topic, decision, _, _, eval_us, findings in checks:
        if not decision:
            skipped.append(topic)
            continue
        CHECKED.labels(topic).inc()
        EVALUATIONS.labels(topic).inc()
        # What was decided without the kernel, such as content that is not there, took no evaluation.
        if eval_us:
            OUTPUT_EVAL_SECONDS.labels(topic).observe(eval_us / 1e6)
        # DENY: the error text of a job that failed was masked; the job is not quarantined.
        if decision in {"QUARANTINE", "DENY"}:
            DENIALS.labels(topic).inc()
            if decision == "QUARANTINE":
                QUARANTINED.labels(topic).inc()
        elif decision == "REDACT":
            REDACTIONS.labels(topic).inc()
        for detector, severity in findings:
            FINDINGS.labels(_bounded(detector), severity).inc()
    note_skipped(skipped)


def _bounded(detector: str) -> str:
    """Return a detector as a label: patterns and keywords of rules are as many as operators like."""
    if detector not in _detectors:
        if len(_detectors) >= _DETECTORS_MAX or not detector.replace("_", "").isalnum():
            return "other"
        _detectors.add(detector)
    return detector
