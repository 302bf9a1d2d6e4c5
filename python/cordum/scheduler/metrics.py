"""Metrics of the scheduler (scheduler spec §26) and the mapping from planner counts to them."""

from collections import Counter as Tally
from collections.abc import Iterable
from contextlib import suppress

import structlog
from prometheus_client import Counter, Gauge, Histogram

_log = structlog.get_logger("cordum.scheduler")
_D = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RECEIVED = Counter("cordum_jobs_received_total", "Jobs taken in", ["topic"])
DISPATCHED = Counter("cordum_jobs_dispatched_total", "Dispatches committed", ["topic"])
COMPLETED = Counter("cordum_jobs_completed_total", "Jobs ended", ["topic", "status"])
DENIED = Counter("cordum_safety_denied_total", "Jobs denied by policy", ["topic"])
UNAVAILABLE = Counter(
    "cordum_safety_unavailable_total", "Deferrals because the kernel gave no answer", ["topic"]
)
INPUT_FAIL_OPEN = Counter("cordum_input_fail_open_total", "Jobs admitted without a policy answer", ["topic"])
SCHEDULER_INPUT_FAIL_OPEN = Counter(
    "cordum_scheduler_input_fail_open_total", "The same as cordum_input_fail_open_total", ["topic"]
)
DISPATCH_LATENCY = Histogram(
    "cordum_scheduler_dispatch_latency_seconds", "Receive to PubAck", ["topic"], buckets=_D
)
ROLLBACKS = Counter("cordum_scheduler_dispatch_rollback_total", "Dispatches rolled back", ["topic"])
FLUSHES = Counter(
    "cordum_scheduler_dispatch_flush_on_worker_online_total", "Flushes after a pool came online", ["pool"]
)
REPLAYED = Counter("cordum_scheduler_orphan_replayed_total", "Orphans fed again", ["topic"])
STALE = Gauge("cordum_scheduler_stale_jobs", "Jobs found past their limit by the last tick", ["state"])
IN_FLIGHT = Gauge("cordum_scheduler_active_goroutines", "Messages and due jobs inside the pipelines")
LOCK_WAIT = Histogram(
    "cordum_scheduler_job_lock_wait_seconds",
    "Lock waits, and how long planned jobs waited for their commit",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
LOCK_ABANDONED = Counter(
    "cordum_scheduler_job_lock_abandoned_total", "Job locks given up because they could not be renewed"
)
RESULT_POINTER_FAILURES = Counter(
    "cordum_scheduler_result_ptr_write_failure_total",
    "Results stored without their pointer: it named neither their own result nor an artifact of their tenant",
)
PARKED_JOBS = Gauge("cordum_scheduler_parked_jobs", "Jobs parked now, on all replicas", ["cause"])
BATCH_LIMIT = Gauge("cordum_scheduler_batch_limit", "Jobs of a submit batch at most, now")
VALIDATION_REJECTIONS = Counter("cordum_validation_rejections_total", "Packets refused by validation")
INVALID_PACKETS = Counter("cordum_bus_invalid_packets_total", "Invalid packets", ["subject_class", "reason"])
CONFLICTS = Counter(
    "cordum_scheduler_commit_conflicts_total", "Changes another replica or event got ahead of"
)
INVALID_TRANSITIONS = Counter(
    "cordum_scheduler_invalid_transitions_total", "Moves the table of states forbids, refused", ["from", "to"]
)
UNKNOWN_RESULTS = Counter("cordum_scheduler_unknown_results_total", "Results of unknown jobs")
LOST_DISPATCHES = Counter(
    "cordum_scheduler_lost_dispatches_total", "Dispatches to workers that fell silent before they ran them"
)
DLQ_ENTRIES = Gauge("cordum_dlq_entries", "Dead letters now")
DLQ_DEPTH = Gauge("cordum_dlq_depth", "The same as cordum_dlq_entries")
DLQ_DROPPED = Counter("cordum_dlq_dropped_total", "Dead letters dropped because there are too many")
DUPLICATES = Counter("cordum_scheduler_duplicates_total", "Messages without effect", ["kind"])
PARKED = Counter("cordum_scheduler_parks_total", "Jobs parked", ["cause"])
BATCH_SIZE = Histogram(
    "cordum_scheduler_batch_size", "Items per batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
BATCH_STAGE = Histogram("cordum_scheduler_batch_stage_seconds", "Time per stage", ["stage"], buckets=_D)
CANCEL_FAILURES = Counter("cordum_job_cancel_failures_total", "Cancels that could not be stored")
DLQ_EMIT_FAILURES = Counter("cordum_dlq_emit_failures_total", "Dead-letter events not published", ["topic"])
SAGA_RECORDED = Counter("cordum_saga_recorded_total", "Compensations remembered")
SAGA_ROLLBACKS = Counter("cordum_saga_rollbacks_total", "Rollback passes started")
SAGA_DISPATCHED = Counter("cordum_saga_compensation_dispatched_total", "Compensations submitted")
SAGA_COMPENSATION_FAILED = Counter(
    "cordum_saga_compensation_failed_total",
    "Compensations that could not be submitted, or ended without success",
)
SAGA_UNMARSHAL_ERRORS = Counter(
    "cordum_saga_unmarshal_errors_total", "Remembered compensations that do not decode"
)
SAGA_ACTIVE = Gauge("cordum_saga_active", "Rollback passes running here")
SAGA_DURATION = Histogram("cordum_saga_rollback_duration_seconds", "Time of a rollback pass", buckets=_D)
LAST_HEARTBEAT = Gauge("cordum_last_heartbeat_timestamp", "Newest heartbeat, Unix seconds", ["pool"])
ATTESTATION_FAILURES = Counter(
    "cordum_scheduler_attestation_failures_total", "Packets that did not attest their worker", ["reason"]
)
SESSION_VALID = Gauge(
    "cordum_scheduler_worker_session_valid", "1: the worker has a live session", ["worker_id", "tenant"]
)
REJECTED_PACKETS = Counter(
    "cordum_bus_rejected_packets_total", "Packets refused because of who sent them", ["packet", "reason"]
)
HANDSHAKES = Counter("cordum_worker_handshake_total", "Trust handshakes that ended", ["outcome", "reason"])
CONFIG_DRIFT = Gauge("cordum_config_drift", "1: the file differs from the stored section", ["section"])
CONFIG_INVALID = Gauge("cordum_config_invalid", "1: the stored section is invalid and ignored", ["section"])

_STATUSES = ("succeeded", "failed", "failed_retryable", "timeout", "denied", "cancelled", "quarantined")
_TOPICS_AT_START = 500


def show_topics(topics: Iterable[str]) -> None:
    """Export the series of routed topics before their first event, so that rates see it (operations spec §13.1)."""
    for topic in sorted(topics)[:_TOPICS_AT_START]:
        for counter in (RECEIVED, DISPATCHED, DENIED, UNAVAILABLE, REPLAYED, DLQ_EMIT_FAILURES):
            counter.labels(topic)
        DISPATCH_LATENCY.labels(topic)
        for status in _STATUSES:
            COMPLETED.labels(topic, status)


_PLAIN = {"received": RECEIVED, "dispatched": DISPATCHED, "denied": DENIED}
# To find a series again costs the library as much as to count in it; the planner bounds the labels.
_series: dict[tuple[str, str], Counter] = {}
_latencies: dict[str, Histogram] = {}


def forget_session(worker_id: str, tenant: str) -> None:
    """Drop the series of a worker without session."""
    with suppress(KeyError):
        SESSION_VALID.remove(worker_id, tenant)


def count(counts: Iterable[tuple[str, str]]) -> None:
    """Add the planner's counts: (name, label), one entry per job."""
    for (name, label), number in Tally(counts).items():
        if name == "invalid":
            _count_invalid_move(label, number)
        elif name != "held":
            (_series.get((name, label)) or _find_series(name, label)).inc(number)
            if name == "safety_unavailable":
                PARKED.labels(name).inc(number)


def _find_series(name: str, label: str) -> Counter:
    found = _series[name, label] = _named(name, label)
    return found


def _named(name: str, label: str) -> Counter:
    if name.startswith("completed:"):
        return COMPLETED.labels(label, name.removeprefix("completed:"))
    if name in _PLAIN:
        return _PLAIN[name].labels(label)
    if name == "saga_compensation_failed":
        return SAGA_COMPENSATION_FAILED
    if name == "conflict":
        return CONFLICTS
    if name == "pointer":
        return RESULT_POINTER_FAILURES
    if name == "ignored":
        return UNKNOWN_RESULTS if label == "unknown" else DUPLICATES.labels(label)
    if name == "safety_unavailable":
        return UNAVAILABLE.labels(label)
    return PARKED.labels(name)


def _count_invalid_move(move: str, number: int) -> None:
    start, _, end = move.partition(">")
    INVALID_TRANSITIONS.labels(start, end).inc(number)
    _log.warning("illegal transition refused", start=start, end=end, jobs=number)


def observe_latency(arrivals: Iterable[tuple[str, int]], now_us: int) -> None:
    """Observe arrival to PubAck of dispatched jobs: (topic, arrival in µs)."""
    for topic, arrived_us in arrivals:
        if arrived_us:
            histogram = _latencies.get(topic)
            if histogram is None:
                histogram = _latencies[topic] = DISPATCH_LATENCY.labels(topic)
            histogram.observe(max(0, now_us - arrived_us) / 1e6)


def count_invalid(subject_class: str, reasons: Iterable[str]) -> None:
    """Count packets that decode but break a rule."""
    for reason in reasons:
        VALIDATION_REJECTIONS.inc()
        INVALID_PACKETS.labels(subject_class, reason).inc()
