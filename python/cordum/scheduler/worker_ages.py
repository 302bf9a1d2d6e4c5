"""The age of every worker's last sign of life, read when somebody looks (scheduler spec §26)."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cordum._core import Planner
from cordum.runtime.clock import now_us

__all__ = ["WorkerAges"]


class WorkerAges(Collector):
    """One series per known worker; it ends with the worker."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the ages now."""
        family = GaugeMetricFamily(
            "cordum_scheduler_worker_heartbeat_age_seconds",
            "Time since the last sign of life of a worker",
            labels=["worker_id"],
        )
        for worker_id, age_s in self._planner.worker_ages(now_us()):
            family.add_metric([worker_id], age_s)
        yield family
