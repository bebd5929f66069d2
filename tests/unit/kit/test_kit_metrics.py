"""Histograms are shown as the client library shows its own."""

from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pilothouse.kit import metrics

_SECONDS = (0.0, 0.001, 0.0015, 0.25, 99.0)


def test_a_histogram_reads_as_the_librarys_own() -> None:
    ours, theirs = CollectorRegistry(auto_describe=True), CollectorRegistry()
    buckets = metrics.exponential_buckets(0.001, 2, 10)
    plain = metrics.histogram(ours, "plain_seconds", "Without labels.", buckets=buckets)
    of_them = prometheus_client.Histogram(
        "plain_seconds", "Without labels.", registry=theirs, buckets=buckets
    )
    for seconds in _SECONDS:
        plain.observe(seconds)
        of_them.observe(seconds)
    made = metrics.histogram(ours, "labelled_seconds", "With labels.", ["verb", "code"])
    of_them = prometheus_client.Histogram(
        "labelled_seconds", "With labels.", ["verb", "code"], registry=theirs
    )
    for seconds in _SECONDS:
        made.labels("get", "200").observe(seconds)
        of_them.labels("get", "200").observe(seconds)
    metrics.histogram(ours, "unused_seconds", "Nothing yet.", ["verb"])
    prometheus_client.Histogram("unused_seconds", "Nothing yet.", ["verb"], registry=theirs)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_family_is_made_once_and_takes_its_own_labels_alone() -> None:
    registry = CollectorRegistry(auto_describe=True)
    made = metrics.histogram(registry, "wait_seconds", "How long.", ["name"])
    assert metrics.histogram(registry, "wait_seconds", "How long.", ["name"]) is made
    with pytest.raises(TypeError, match="wait_seconds is a Histogram, not a Gauge"):
        metrics.gauge(registry, "wait_seconds", "How long.", ["name"])
    with pytest.raises(ValueError, match="labels"):
        made.labels("a", "b")
