"""Metrics that more than one service exports under one name."""

from typing import Final

from prometheus_client import Histogram

OUTPUT_EVAL_SECONDS: Final = Histogram(
    "cordum_output_eval_duration_seconds",
    "Time to scan one result and to decide about it.",
    ["topic"],
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1),
)
