"""The autoscaler's metrics (pkg/controller/podautoscaler/monitor)."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry

from pilothouse.kit.metrics import counter, exponential_buckets, gauge, histogram

_PREFIX = "horizontal_pod_autoscaler_controller"
_BUCKETS = exponential_buckets(0.001, 2, 15)
_ACTION = "The label 'action' should be either 'scale_down', 'scale_up', or 'none'."
_ERROR = "The label 'error' should be either 'spec', 'internal', or 'none'."
Action = Literal["scale_up", "scale_down", "none"]
Error = Literal["spec", "internal", "none"]


class Observed:
    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("action", "error")
        self._reconciliations = counter(
            registry,
            f"{_PREFIX}_reconciliations_total",
            f"Number of reconciliations of HPA controller. {_ACTION} {_ERROR}",
            labels,
        )
        self._reconciliation_seconds = histogram(
            registry,
            f"{_PREFIX}_reconciliation_duration_seconds",
            f"The time(seconds) that the HPA controller takes to reconcile once. {_ACTION} {_ERROR}",
            labels,
            _BUCKETS,
        )
        of_metric = (*labels, "metric_type")
        self._computations = counter(
            registry,
            f"{_PREFIX}_metric_computation_total",
            f"Number of metric computations. {_ACTION} {_ERROR}",
            of_metric,
        )
        self._computation_seconds = histogram(
            registry,
            f"{_PREFIX}_metric_computation_duration_seconds",
            f"The time(seconds) that the HPA controller takes to calculate one metric. {_ACTION} {_ERROR}",
            of_metric,
            _BUCKETS,
        )
        self._autoscalers = gauge(
            registry, f"{_PREFIX}_num_horizontal_pod_autoscalers", "Current number of controlled HPA objects."
        )
        self._desired = gauge(
            registry,
            f"{_PREFIX}_desired_replicas",
            "Current desired replica count for HPA objects.",
            ("namespace", "hpa_name"),
        )

    def reconciled(self, action: Action, error: Error, seconds: float) -> None:
        self._reconciliations.labels(action, error).inc()
        self._reconciliation_seconds.labels(action, error).observe(seconds)

    def computed(self, action: Action, error: Error, metric_type: str, seconds: float) -> None:
        self._computations.labels(action, error, metric_type).inc()
        self._computation_seconds.labels(action, error, metric_type).observe(seconds)

    def autoscalers(self, count: int) -> None:
        self._autoscalers.set(count)

    def desired(self, namespace: str, name: str, replicas: int) -> None:
        self._desired.labels(namespace, name).set(replicas)

    def forget(self, namespace: str, name: str) -> None:
        """Known or not."""
        self._desired.labels(namespace, name)
        self._desired.remove(namespace, name)
