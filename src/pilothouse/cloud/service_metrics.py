"""What the service controller counts, under upstream's names (k8s.io/cloud-provider/controllers/service/metrics.go)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pilothouse.kit.metrics import counter, exponential_buckets, histogram

_BUCKETS_S = exponential_buckets(1.0, 2.0, 15)
_SYNC = "A metric counting the amount of times any load balancer has been configured"


class ServiceMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.synced = counter(
            registry,
            "service_controller_loadbalancer_sync_total",
            f"{_SYNC}, as an effect of service/node changes on the cluster",
        )
        self.nodes_failed = counter(
            registry,
            "service_controller_nodesync_error_total",
            f"{_SYNC} and errored, as an effect of node changes on the cluster",
        )
        self.nodes_synced_s = histogram(
            registry,
            "service_controller_nodesync_latency_seconds",
            "A metric measuring the latency for nodesync which updates loadbalancer hosts on cluster node updates.",
            buckets=_BUCKETS_S,
        )
        self.updated_s = histogram(
            registry,
            "service_controller_update_loadbalancer_host_latency_seconds",
            "A metric measuring the latency for updating each load balancer hosts.",
            buckets=_BUCKETS_S,
        )
