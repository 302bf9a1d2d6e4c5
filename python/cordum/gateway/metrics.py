"""Metrics of the gateway (gateway spec §38)."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "BATCH_SIZE",
    "DECISION_QUERIES",
    "DECISION_SECONDS",
    "QUARANTINE_DROPS",
    "REQUESTS",
    "REQUEST_SECONDS",
    "STREAM_CLIENTS",
    "STREAM_DROPPED",
    "SUBMISSIONS",
]

REQUESTS = Counter(
    "cordum_http_requests_total", "HTTP requests by route template and status", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "cordum_http_request_duration_seconds",
    "Time to answer an HTTP request",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
SUBMISSIONS = Counter("cordum_gateway_submissions_total", "Job submissions by outcome", ["outcome"])
BATCH_SIZE = Histogram(
    "cordum_gateway_submit_batch_size",
    "Submissions that shared their network steps",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
STREAM_CLIENTS = Gauge("cordum_gateway_stream_clients", "Connected live-stream clients")
STREAM_DROPPED = Counter("cordum_gateway_stream_dropped_total", "Live events not delivered", ["reason"])
QUARANTINE_DROPS = Counter(
    "cordum_gateway_ws_quarantine_redaction_drops_total",
    "Withheld results not told because their pointers could not be removed",
)
DECISION_QUERIES = Counter(
    "cordum_governance_decisions_query_total", "Pages of the decision log", ["verdict"]
)
DECISION_SECONDS = Histogram(
    "cordum_governance_decisions_handler_latency_seconds",
    "Time to answer a question about past decisions",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
