"""--cloud-config of the provider `sim`, a YAML file; what is left out has the default given here:

seed: 0                       # of its own chance; 0 takes the process's
zones: [a, b, c]
region: sim
latencySeconds: [0.01, 0.1]   # of a call, drawn between the two
lagSeconds: 0                 # how long reads may not see what was written
failures:
  refused: 0                  # share of calls that fail and do nothing
  lost: 0                     # share of calls that are done, and answered with a failure
rate: {callsPerSecond: 100, burst: 200}
quotas: {instances: 1000, loadBalancers: 50, volumes: 1000, routes: 1000}
instances: {vanishPerHour: 0, startSeconds: [5, 30]}
loadBalancers: {readySeconds: [1, 5]}
volumes: {attachSeconds: [1, 3], stuck: 0, stuckSeconds: 120, perNode: 25}
nodeGroups:
  - {name: workers, size: 3, min: 0, max: 10, zone: a, type: medium, labels: {}, taints: []}
autoscalerAddress: ""         # HOST:PORT of the API that grows and shrinks node groups; "" for none
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pilothouse.cloud import config_file

Span = tuple[float, float]


class Failures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    refused: float = 0.0
    lost: float = 0.0


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    calls_per_second: float = 100.0
    burst: int = 200


class Quotas(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    instances: int = 1000
    load_balancers: int = 50
    volumes: int = 1000
    routes: int = 1000


class InstanceHabits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    vanish_per_hour: float = 0.0
    start_seconds: Span = (5.0, 30.0)


class BalancerHabits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    ready_seconds: Span = (1.0, 5.0)


class VolumeHabits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    attach_seconds: Span = (1.0, 3.0)
    stuck: float = 0.0
    stuck_seconds: float = 120.0
    per_node: int = 25


class NodeGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    name: str
    size: int = 0
    min: int = 0
    max: int = 10
    zone: str = "a"
    type: str = "medium"
    labels: dict[str, str] = {}
    taints: list[dict[str, str]] = []


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    seed: int = 0
    zones: tuple[str, ...] = ("a", "b", "c")
    region: str = "sim"
    latency_seconds: Span = (0.01, 0.1)
    lag_seconds: float = 0.0
    failures: Failures = Failures()
    rate: Rate = Rate()
    quotas: Quotas = Quotas()
    instances: InstanceHabits = InstanceHabits()
    load_balancers: BalancerHabits = BalancerHabits()
    volumes: VolumeHabits = VolumeHabits()
    node_groups: tuple[NodeGroup, ...] = ()
    autoscaler_address: str = ""


def read(path: Path | None) -> Config:
    """ValueError says what is wrong, and where."""
    return config_file.read(path, _config)


def _config(found: Any) -> Config:
    config = msgspec.convert(found, Config)
    check(config)
    return config


def check(config: Config) -> None:
    """ValueError for values that make no cloud."""
    spans = {
        "latencySeconds": config.latency_seconds,
        "instances.startSeconds": config.instances.start_seconds,
        "loadBalancers.readySeconds": config.load_balancers.ready_seconds,
        "volumes.attachSeconds": config.volumes.attach_seconds,
    }
    for name, (low, high) in spans.items():
        if not 0 <= low <= high:
            raise ValueError(f"{name}: two times are needed, the smaller one first")
    shares = {
        "failures.refused": config.failures.refused,
        "failures.lost": config.failures.lost,
        "volumes.stuck": config.volumes.stuck,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: a share between 0 and 1 is needed")
    if config.failures.refused + config.failures.lost >= 1:
        raise ValueError("failures: some calls have to succeed")
    if not config.zones or config.rate.calls_per_second <= 0 or config.rate.burst < 1:
        raise ValueError("zones and rate need at least one zone and one call")
    names = [group.name for group in config.node_groups]
    if len(set(names)) != len(names):
        raise ValueError("nodeGroups: two of one name")
    for group in config.node_groups:
        if not 0 <= group.min <= group.size <= group.max or group.zone not in config.zones:
            raise ValueError(f"nodeGroups: {group.name}: min <= size <= max and one of the zones are needed")
