"""Prometheus metrics of the bus (protocol spec §23). Labels come from bounded sets."""

from typing import Final

from prometheus_client import Counter, Gauge

PUBLISHES: Final = Counter(
    "cordum_bus_publish_total", "Messages published, by stream and outcome.", ["stream", "outcome"]
)
REDELIVERIES: Final = Counter(
    "cordum_bus_redeliveries_total", "Messages received again, by durable consumer.", ["consumer"]
)
HANDLER_FAILURES: Final = Counter(
    "cordum_bus_handler_failures_total", "Batches whose handler raised, by durable consumer.", ["consumer"]
)
POISON: Final = Counter("cordum_bus_poison_total", "Messages dead-lettered as poison.", ["consumer"])
CONSUMER_PENDING: Final = Gauge(
    "cordum_bus_consumer_pending",
    "Messages in the stream not yet delivered, by durable consumer.",
    ["consumer"],
)
CORE_DROPPED: Final = Counter(
    "cordum_bus_core_dropped_total", "Core messages dropped because the handler is behind.", ["subject_class"]
)
