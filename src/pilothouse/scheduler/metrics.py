"""The scheduler's metrics, under upstream's names (pkg/scheduler/metrics)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pilothouse.kit import metrics as kit_metrics
from pilothouse.kit.world import World
from pilothouse.scheduler.cache import Cache
from pilothouse.scheduler.framework import Nomination
from pilothouse.scheduler.queue import Place, SchedulingQueue, Waiting
from pilothouse.scheduler.timed import Note

_QUEUES: dict[str, tuple[Place, ...]] = {
    "active": ("active", "in-flight"),
    "backoff": ("backoff", "error-backoff"),
    "gated": ("gated",),
    "unschedulable": ("unschedulable",),
}


class SchedulerMetrics:
    """`result` is scheduled, unschedulable or error."""

    def __init__(self, registry: CollectorRegistry, queue: SchedulingQueue, cache: Cache) -> None:
        labels = ["result", "profile"]
        self._attempts = kit_metrics.Children(
            kit_metrics.counter(
                registry,
                "scheduler_schedule_attempts",
                "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be "
                "scheduled, while 'error' means an internal scheduler problem.",
                labels,
            )
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
        self._algorithm = kit_metrics.histogram(
            registry,
            "scheduler_scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            (),
            kit_metrics.exponential_buckets(0.001, 2, 15),
        )
        self._points = kit_metrics.histogram(
            registry,
            "scheduler_framework_extension_point_duration_seconds",
            "Latency for running all plugins of a specific extension point.",
            ["extension_point", "status", "profile"],
            kit_metrics.exponential_buckets(0.0001, 2, 12),
        )
        self._plugins = kit_metrics.histogram(
            registry,
            "scheduler_plugin_execution_duration_seconds",
            "Duration for running a plugin at a specific extension point.",
            ["plugin", "extension_point", "status"],
            kit_metrics.exponential_buckets(0.00001, 1.5, 20),
        )
        self._evaluations: dict[tuple[str, str, str], int] = {}
        """By plugin, extension point and profile."""
        self._permit = kit_metrics.histogram(
            registry,
            "scheduler_permit_wait_duration_seconds",
            "Duration of waiting on permit.",
            ["result"],
            kit_metrics.exponential_buckets(0.001, 2, 15),
        )
        self._preemptions = kit_metrics.counter(
            registry, "scheduler_preemption_attempts", "Total preemption attempts in the cluster till now"
        )
        self._victims = kit_metrics.histogram(
            registry,
            "scheduler_preemption_victims",
            "Number of selected preemption victims",
            (),
            kit_metrics.exponential_buckets(1, 2, 7),
        )
        self._events = kit_metrics.histogram(
            registry,
            "scheduler_event_handling_duration_seconds",
            "Event handling latency in seconds.",
            ["event"],
            kit_metrics.exponential_buckets(0.0001, 2, 12),
        )
        registry.register(_Queue(queue))
        registry.register(_Cache(cache))
        registry.register(_Evaluations(self._evaluations))

    def attempt(self, result: str, profile: str, began_s: float, world: World) -> None:
        self._attempts(result, profile).inc()
        self._seconds.labels(result, profile).observe(world.clock.monotonic() - began_s)

    def scheduled(self, entry: Waiting, began_s: float, world: World) -> None:
        self.attempt("scheduled", entry.profile.name, began_s, world)
        self._tries.observe(entry.attempts)
        self._sli.labels(str(min(entry.attempts, 15))).observe(world.clock.monotonic() - entry.first_s)

    def algorithm(self, began_s: float, world: World) -> None:
        """A node was found."""
        self._algorithm.observe(world.clock.monotonic() - began_s)

    def preemption(self, nomination: Nomination) -> None:
        self._preemptions.inc()
        if nomination.victims:
            self._victims.observe(nomination.victims)

    def permitted(self, result: str, seconds: float) -> None:
        self._permit.labels(result).observe(seconds)

    def event(self, name: str, seconds: float) -> None:
        self._events.labels(name).observe(seconds)

    def plugins(self, notes: Iterable[Note], profile: str) -> None:
        """Of one cycle. A point's status is Success, or what a plugin says otherwise and Skip is not."""
        points: dict[str, tuple[float, str]] = {}
        for note in notes:
            self._plugins.labels(note.plugin, note.point, note.status).observe(note.seconds)
            if note.point in _EVALUATED:
                evaluated = (note.plugin, note.point, profile)
                self._evaluations[evaluated] = self._evaluations.get(evaluated, 0) + 1
            seconds, status = points.get(note.point, (0.0, "Success"))
            status = status if note.status in ("Success", "Skip") else note.status
            points[note.point] = seconds + note.seconds, status
        for point, (seconds, status) in points.items():
            self._points.labels(point, status, profile).observe(seconds)


_EVALUATED = ("PreFilter", "Filter", "PreScore", "Score")


class _Evaluations(Collector):
    def __init__(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "scheduler_plugin_evaluation",
            "Number of attempts to schedule pods by each plugin and the extension point (available only in "
            "PreFilter, Filter, PreScore, and Score).",
            labels=["plugin", "extension_point", "profile"],
        )
        for labels, count in self._counts.items():
            family.add_metric(labels, float(count))
        yield family


class _Cache(Collector):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily(
            "scheduler_cache_size",
            "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
            labels=["type"],
        )
        for kind, count in self._cache.sizes().items():
            size.add_metric([kind], float(count))
        yield size


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
        refused = GaugeMetricFamily(
            "scheduler_unschedulable_pods",
            "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all "
            "plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.",
            labels=["plugin", "profile"],
        )
        for (plugin, profile), count in self._queue.refused().items():
            refused.add_metric([plugin, profile], float(count))
        yield refused
        incoming = CounterMetricFamily(
            "scheduler_queue_incoming_pods",
            "Number of pods added to scheduling queues by event and queue type.",
            labels=["queue", "event"],
        )
        for (place, event), count in self._queue.incoming.items():
            incoming.add_metric([place.removeprefix("error-"), event], count)
        yield incoming
