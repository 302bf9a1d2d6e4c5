"""Exposition of Prometheus metrics.

Modules define their metrics with ``prometheus_client`` on its default registry; every exported series gets
the constant label ``pod`` (scheduler spec §26).
"""

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

__all__ = ["CONTENT_TYPE", "render_metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

# `_created` series double the output and no dashboard reads them.
prometheus_client.disable_created_metrics()


class _Labelled(CollectorRegistry):
    """A view of a registry in which every sample carries the pod label."""

    def __init__(self, source: CollectorRegistry, pod: str) -> None:
        super().__init__()
        self._source = source
        self._pod = pod

    def collect(self) -> Iterable[Metric]:
        for metric in self._source.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            labelled.samples = [
                sample._replace(labels={**sample.labels, "pod": self._pod}) for sample in metric.samples
            ]
            yield labelled


def render_metrics(pod: str, registry: CollectorRegistry = REGISTRY) -> bytes:
    """Return the Prometheus text of the registry with ``pod`` on every series."""
    return generate_latest(_Labelled(registry, pod))
