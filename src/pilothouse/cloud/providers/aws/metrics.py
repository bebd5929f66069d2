"""Calls to AWS as cloud-provider-aws counts them; `request` is the action, DescribeInstances."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client import CollectorRegistry

from pilothouse.kit.metrics import counter, histogram
from pilothouse.kit.world import World

_THROTTLED = frozenset(
    ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException")
)


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._took_s = histogram(
            registry,
            "cloudprovider_aws_api_request_duration_seconds",
            "Latency of AWS API calls",
            ["request"],
        )
        self._failed = counter(
            registry, "cloudprovider_aws_api_request_errors", "AWS API errors", ["request"]
        )
        self._throttled = counter(
            registry,
            "cloudprovider_aws_api_throttled_requests_total",
            "AWS API throttled requests",
            ["operation_name"],
        )

    @contextmanager
    def call(self, action: str, world: World) -> Iterator[None]:
        """One call with its repetitions; one that fails has no duration."""
        began_s = world.clock.monotonic()
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            self._failed.labels(action).inc()
            if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in _THROTTLED:
                self._throttled.labels(action).inc()
            raise
        self._took_s.labels(action).observe(world.clock.monotonic() - began_s)
