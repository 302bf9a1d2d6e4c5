"""Metrics of approvals, shared by the gateway and the scheduler (scheduler spec §26)."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["DECISIONS", "EXPIRED", "LATENCY", "QUEUE_DEPTH"]

_D: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

QUEUE_DEPTH = Gauge("cordum_approval_queue_depth", "Jobs that wait for a human", ["risk_tier"])
LATENCY = Histogram("cordum_approval_latency_seconds", "Time a job waited for its human", buckets=_D)
EXPIRED = Counter("cordum_approval_expired_total", "Approvals nobody gave before the deadline")
DECISIONS = Counter("cordum_approval_decisions_total", "Answers about waiting jobs", ["decision"])
for _decision in ("approved", "denied", "expired"):
    DECISIONS.labels(_decision)
