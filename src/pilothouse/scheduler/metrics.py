"""The scheduler's metrics, under upstream's names (pkg/scheduler/metrics)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pilothouse.kit import metrics as kit_metrics
from pilothouse.kit.world import World
from pilothouse.scheduler.queue import Place, SchedulingQueue, Waiting

_QUEUES: dict[str, tuple[Place, ...]] = {
    "active": ("active", "in-flight"),
    "backoff": ("backoff", "error-backoff"),
    "gated": ("gated",),
    "unschedulable": ("unschedulable",),
}


class SchedulerMetrics:
    """`result` is scheduled, unschedulable or error."""

    def __init__(self, registry: CollectorRegistry, queue: SchedulingQueue) -> None:
        labels = ["result", "profile"]
        self._attempts = kit_metrics.counter(
            registry,
            "scheduler_schedule_attempts",
            "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, "
            "while 'error' means an internal scheduler problem.",
            labels,
        )
        self._seconds = kit_metrics.histogram(
            registry,
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            labels,
            kit_metrics.exponential_buckets(0.001, 2, 15),
        )
        self._sli = kit_metrics.histogram(
            registry,
            "scheduler_pod_scheduling_sli_duration_seconds",
            "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might "
            "involve multiple scheduling attempts.",
            ["attempts"],
            kit_metrics.exponential_buckets(0.01, 2, 20),
        )
        self._tries = kit_metrics.histogram(
            registry,
            "scheduler_pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod.",
            (),
            kit_metrics.exponential_buckets(1, 2, 5),
        )
        registry.register(_Queue(queue))

    def attempt(self, result: str, profile: str, began_s: float, world: World) -> None:
        self._attempts.labels(result, profile).inc()
        self._seconds.labels(result, profile).observe(world.clock.monotonic() - began_s)

    def scheduled(self, entry: Waiting, began_s: float, world: World) -> None:
        self.attempt("scheduled", entry.profile.name, began_s, world)
        self._tries.observe(entry.attempts)
        self._sli.labels(str(min(entry.attempts, 15))).observe(world.clock.monotonic() - entry.first_s)


class _Queue(Collector):
    """Read when somebody scrapes."""

    def __init__(self, queue: SchedulingQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        pending = GaugeMetricFamily(
            "scheduler_pending_pods",
            "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means "
            "number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the "
            "scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the "
            "scheduler never attempted to schedule because they are gated.",
            labels=["queue"],
        )
        sizes = self._queue.sizes()
        for name, places in _QUEUES.items():
            pending.add_metric([name], float(sum(sizes[place] for place in places)))
        yield pending
        incoming = CounterMetricFamily(
            "scheduler_queue_incoming_pods",
            "Number of pods added to scheduling queues by event and queue type.",
            labels=["queue", "event"],
        )
        for (place, event), count in self._queue.incoming.items():
            incoming.add_metric([place.removeprefix("error-"), event], count)
        yield incoming
