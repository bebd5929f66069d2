"""Metrics of admission webhooks and policies, under upstream's names (k8s.io/apiserver/pkg/admission/metrics,
plugin/policy/validating/metrics, plugin/policy/mutating/metrics)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10, 25)
_POLICY_BUCKETS_S = (0.0000005, 0.001, 0.01, 0.1, 1.0)
_CODE_MAX = 600
"""Codes beyond are counted as this one, so that no webhook makes labels without end."""

CALLING_ERROR = "calling_webhook_error"
INTERNAL_ERROR = "apiserver_internal_error"
NO_ERROR = "no_error"


class DynamicMetrics:
    """`registry` collects one server's metrics; None for nobody who asks. Steps are `admit` and `validate`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._duration = Histogram(
            "apiserver_admission_webhook_admission_duration_seconds",
            "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and "
            "API resource and type (validate or admit).",
            ("name", "type", "operation", "rejected"),
            registry=registry,
            buckets=_BUCKETS_S,
        )
        self._rejections = _count(
            registry,
            "apiserver_admission_webhook_rejection_count",
            "Admission webhook rejection count, identified by name and broken out for each admission type (validating "
            "or admit) and operation.",
            "name", "type", "operation", "error_type", "rejection_code",
        )  # fmt: skip
        self._fail_open = _count(
            registry,
            "apiserver_admission_webhook_fail_open_count",
            "Admission webhook fail open count, identified by name and broken out for each admission type (validating "
            "or mutating).",
            "name", "type",
        )  # fmt: skip
        self._requests = _count(
            registry,
            "apiserver_admission_webhook_request_total",
            "Admission webhook request total, identified by name and broken out for each admission type (validating or "
            "mutating) and operation.",
            "name", "type", "operation", "code", "rejected",
        )  # fmt: skip
        self._condition_errors = _count(
            registry,
            "apiserver_admission_match_condition_evaluation_errors_total",
            "Admission match condition evaluation errors count, identified by name of resource containing the match "
            "condition.",
            "name", "kind", "type", "operation",
        )  # fmt: skip
        self._condition_exclusions = _count(
            registry,
            "apiserver_admission_match_condition_exclusions_total",
            "Admission match condition evaluation exclusions count, identified by name of resource containing the "
            "match condition.",
            "name", "kind", "type", "operation",
        )  # fmt: skip
        self._validating = _count(
            registry,
            "apiserver_validating_admission_policy_check_total",
            "Validation admission policy check total, labeled by policy and further identified by binding and "
            "enforcement action taken.",
            "policy", "policy_binding", "error_type", "enforcement_action",
        )  # fmt: skip
        self._validating_time = Histogram(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "Validation admission latency for individual validation expressions in seconds, labeled by policy and "
            "further including binding and enforcement action taken.",
            ("policy", "policy_binding", "error_type", "enforcement_action"),
            registry=registry,
            buckets=_POLICY_BUCKETS_S,
        )
        self._mutating_time = Histogram(
            "apiserver_mutating_admission_policy_check_duration_seconds",
            "Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.",
            ("policy", "policy_binding", "error_type"),
            registry=registry,
            buckets=_POLICY_BUCKETS_S,
        )
        self._mutating = _count(
            registry,
            "apiserver_mutating_admission_policy_check_total",
            "Mutation admission policy check total, labeled by policy and further identified by binding.",
            "policy", "policy_binding", "error_type",
        )  # fmt: skip

    def called(
        self, hook: str, step: str, operation: str, seconds: float, code: int, *, rejected: bool
    ) -> None:
        refused = str(rejected).lower()
        self._requests.labels(hook, step, operation, str(min(code, _CODE_MAX)), refused).inc()
        self._duration.labels(hook, step, operation, refused).observe(seconds)

    def rejected(self, hook: str, step: str, operation: str, error_type: str, code: int) -> None:
        self._rejections.labels(hook, step, operation, error_type, str(min(code, _CODE_MAX))).inc()

    def failed_open(self, hook: str, step: str) -> None:
        self._fail_open.labels(hook, step).inc()

    def condition_failed(self, name: str, kind: str, step: str, operation: str) -> None:
        """`kind` is webhook or policy."""
        self._condition_errors.labels(name, kind, step, operation).inc()

    def excluded(self, name: str, kind: str, step: str, operation: str) -> None:
        self._condition_exclusions.labels(name, kind, step, operation).inc()

    def validated(self, policy: str, binding: str, error_type: str, action: str, seconds: float) -> None:
        """`action` is allow, deny, warn or audit."""
        self._validating.labels(policy, binding, error_type, action).inc()
        self._validating_time.labels(policy, binding, error_type, action).observe(seconds)

    def mutated(self, policy: str, binding: str, error_type: str, seconds: float) -> None:
        self._mutating.labels(policy, binding, error_type).inc()
        self._mutating_time.labels(policy, binding, error_type).observe(seconds)


def _count(registry: CollectorRegistry | None, name: str, text: str, *labels: str) -> Counter | Gauge:
    """A counter; a gauge where the name does not end in `_total`, which the library would add to a counter's."""
    if name.endswith("_total"):
        return Counter(name, text, labels, registry=registry)
    return Gauge(name, text, labels, registry=registry)
