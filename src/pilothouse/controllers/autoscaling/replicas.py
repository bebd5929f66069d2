"""How many pods a metric asks for (pkg/controller/podautoscaler/replica_calculator.go). Pure.

    usage of the pods ÷ target  ──▶  ratio  ──▶  ⌈ratio × ready pods⌉

What is near enough to the target changes nothing (tolerance). What is not known is assumed so that less happens: pods
without metrics use all they may when pods would go, and nothing when pods would come; pods that are not ready use
nothing when pods would come. If the assumption turns the direction around, nothing happens.

Amounts are thousandths of the metric's unit, times seconds since 1970. Divisions cut as Go's do, which shows: 199 % of
a target of 200 % is 199, and 199.9 % too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse.api import quantity
from pilothouse.api.pod_requests import pod_requests
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition, is_ready, is_terminating
from pilothouse.kit.world import parse_timestamp

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
TOLERANCE = 0.1
CPU_INITIALIZATION_S = 300.0
READINESS_DELAY_S = 30.0


class CannotCompute(Exception):
    """There is no replica count; the message is for the autoscaler's condition."""


class Sample(NamedTuple):
    """What one pod uses; `window_s` is what it was measured over."""

    value: int
    at_s: float = 0.0
    window_s: float = 60.0


Samples = dict[str, Sample]
"""By pod."""


class Tolerances(NamedTuple):
    """How far a ratio may be below and above 1 without a change."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Proposal(NamedTuple):
    """`share` is the percentage of the requests that is used, where that is the target; `usage` the average."""

    replicas: int
    usage: int
    share: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long figures of a young pod are not believed (--horizontal-pod-autoscaler-cpu-initialization-period and
    -initial-readiness-delay)."""

    cpu_initialization_s: float = CPU_INITIALIZATION_S
    readiness_delay_s: float = READINESS_DELAY_S


@dataclass(slots=True)
class Groups:
    """Pods by what is known of them; those that go or have failed are in none."""

    ready: int = 0
    unready: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)


def grouped(
    pods: Iterable[Obj], samples: Mapping[str, Sample], resource: str, patience: Patience, now_s: float
) -> Groups:
    """`resource` "" is a metric that is none."""
    groups = Groups()
    for pod in pods:
        name, phase = pod["metadata"]["name"], (pod.get("status") or {}).get("phase")
        if is_terminating(pod) or phase == "Failed":
            groups.ignored.add(name)
        elif phase == "Pending":
            groups.unready.add(name)
        elif name not in samples:
            groups.missing.add(name)
        elif resource == "cpu" and _is_unready(pod, samples[name], patience, now_s):
            groups.unready.add(name)
        else:
            groups.ready += 1
    return groups


def _is_unready(pod: Obj, sample: Sample, patience: Patience, now_s: float) -> bool:
    """Whether the CPU of a pod says nothing yet: it starts up, or has never been ready."""
    ready, started = condition(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if ready is None or started is None:
        return True
    started_s, is_false = parse_timestamp(started), ready["status"] == "False"
    changed = ready.get("lastTransitionTime")
    changed_s = parse_timestamp(changed) if changed else 0.0
    if started_s + patience.cpu_initialization_s > now_s:
        return is_false or sample.at_s < changed_s + sample.window_s
    return is_false and started_s + patience.readiness_delay_s > changed_s


# -- resources --------------------------------------------------------------------------------------------


def by_utilization(
    current: int,
    target_share: int,
    resource: str,
    container: str,
    pods: list[Obj],
    samples: Samples,
    tolerances: Tolerances,
    patience: Patience,
    now_s: float,
) -> Proposal:
    """A share of the requests in percent; `container` "" takes whole pods. Raises CannotCompute."""
    groups, known = _known(pods, samples, resource, patience, now_s)
    requests = requested(pods, container, resource)
    ratio, share, usage = _utilization(known, requests, target_share)
    fallback = {name: requests[name] * max(100, target_share) // 100 for name in groups.missing}
    replicas = _settled(
        current,
        ratio,
        groups,
        known,
        fallback,
        tolerances,
        lambda s: _utilization(s, requests, target_share)[0],
    )
    return Proposal(replicas, usage, share)


def by_amount(
    current: int,
    target: int,
    resource: str,
    pods: list[Obj],
    samples: Samples,
    tolerances: Tolerances,
    patience: Patience,
    now_s: float,
) -> Proposal:
    """An amount for each pod; `resource` "" is a metric of the pods that is none. Raises CannotCompute."""
    groups, known = _known(pods, samples, resource, patience, now_s)
    ratio, usage = _average(known, target)
    fallback = dict.fromkeys(groups.missing, target)
    replicas = _settled(current, ratio, groups, known, fallback, tolerances, lambda s: _average(s, target)[0])
    return Proposal(replicas, usage)


def _known(
    pods: list[Obj], samples: Samples, resource: str, patience: Patience, now_s: float
) -> tuple[Groups, Samples]:
    if not pods:
        raise CannotCompute("no pods returned by selector while calculating replica count")
    groups = grouped(pods, samples, resource, patience, now_s)
    left_out = groups.ignored | groups.unready
    known = {name: sample for name, sample in samples.items() if name not in left_out}
    if not known:
        raise CannotCompute("did not receive metrics for targeted pods (pods might be unready)")
    return groups, known


def _settled(
    current: int,
    ratio: float,
    groups: Groups,
    known: Samples,
    fallback: Mapping[str, int],
    tolerances: Tolerances,
    ratio_of: Callable[[Samples], float],
) -> int:
    """`fallback` is what pods without metrics are taken to use when pods would go."""
    grows_with_unready = bool(groups.unready) and ratio > 1.0
    if not grows_with_unready and not groups.missing:
        return current if tolerances.covers(ratio) else math.ceil(ratio * groups.ready)
    assumed = dict(known)
    if ratio < 1.0:
        assumed |= {name: Sample(value) for name, value in fallback.items()}
    elif ratio > 1.0:
        assumed |= {name: Sample(0) for name in groups.missing}
    if grows_with_unready:
        assumed |= {name: Sample(0) for name in groups.unready}
    new = ratio_of(assumed)
    if tolerances.covers(new) or (ratio < 1.0 < new) or (new < 1.0 < ratio):
        return current
    replicas = math.ceil(new * len(assumed))
    if (new < 1.0 and replicas > current) or (new > 1.0 and replicas < current):
        return current
    return replicas


def _utilization(samples: Samples, requests: Mapping[str, int], target_share: int) -> tuple[float, int, int]:
    """(ratio to the target, share in percent, average usage)."""
    matched = [(sample.value, requests[name]) for name, sample in samples.items() if name in requests]
    used, asked = sum(value for value, _ in matched), sum(request for _, request in matched)
    if not asked:
        raise CannotCompute("no metrics returned matched known pods")
    share = used * 100 // asked
    return share / target_share, share, used // len(matched)


def _average(samples: Samples, target: int) -> tuple[float, int]:
    usage = sum(sample.value for sample in samples.values()) // len(samples)
    return usage / target, usage


def requested(pods: Iterable[Obj], container: str, resource: str) -> dict[str, int]:
    """By pod: the request of one container, or the pod's own, or the sum over its containers and sidecars. Raises
    CannotCompute where one is missing."""
    return {pod["metadata"]["name"]: _requested_by(pod, container, resource) for pod in pods}


def _requested_by(pod: Obj, container: str, resource: str) -> int:
    spec, name = pod["spec"], pod["metadata"]["name"]
    if not container and (spec.get("resources") or {}).get("requests"):
        found = pod_requests(pod).get(resource)
        if found is None:
            raise CannotCompute(f"missing pod-level request for {resource} in Pod {name}")
        return found if resource == "cpu" else found * 1000
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    total = 0
    for each in (*spec["containers"], *sidecars):
        if container and each["name"] != container:
            continue
        text = ((each.get("resources") or {}).get("requests") or {}).get(resource)
        if text is None:
            raise CannotCompute(f"missing request for {resource} in container {each['name']} of Pod {name}")
        total += quantity.parse(str(text)).milli
        if container:
            return total
    if container:
        raise CannotCompute(f"container {container} not found in Pod {name}")
    return total


# -- one figure for all -----------------------------------------------------------------------------------


def by_ratio(current: int, usage: int, target: int, pods: list[Obj], tolerances: Tolerances) -> Proposal:
    """One value for all pods together (an object's, an external one). From zero pods on, the ratio alone counts.
    Raises CannotCompute."""
    ratio = usage / target
    if not current:
        return Proposal(math.ceil(ratio), usage)
    if tolerances.covers(ratio):
        return Proposal(current, usage)
    if not pods:
        raise CannotCompute(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum((pod.get("status") or {}).get("phase") == "Running" and is_ready(pod) for pod in pods)
    return Proposal(min(math.ceil(ratio * ready), INT32_MAX), usage)


def per_pod(observed: int, usage: int, target: int, tolerances: Tolerances) -> Proposal:
    """One value, of which every pod is to have its part; `observed` pods are there. Without any, the value itself is
    shown as what each has."""
    replicas = observed
    if not observed or not tolerances.covers(usage / (target * observed)):
        replicas = min(math.ceil(usage / target), INT32_MAX)
    return Proposal(replicas, math.ceil(usage / max(observed, 1)))


def total(values: Iterable[int]) -> int:
    """The sum of an external metric's values, at most what Go can hold."""
    return min(sum(values), INT64_MAX)
