"""Metrics of the store."""

from prometheus_client import Counter

__all__ = ["ROUND_TRIPS"]

ROUND_TRIPS = Counter("cordum_redis_round_trips_total", "Pipelines sent to Redis and answered, per node")
