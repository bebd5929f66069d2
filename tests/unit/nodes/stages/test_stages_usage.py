"""What files of kwok's kinds ResourceUsage and ClusterResourceUsage say that containers use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.types import Obj
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from pilothouse.nodes.stages.read import StageError, read
from pilothouse.nodes.usage import Usages, says_what_it_uses

HEAD = "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
OF_KWOK = """\
spec:
  usages:
  - usage:
      cpu:
        expression: |
          "kwok.x-k8s.io/usage-cpu" in pod.metadata.annotations
          ? Quantity(pod.metadata.annotations["kwok.x-k8s.io/usage-cpu"])
          : Quantity("1m")
      memory:
        expression: |
          "kwok.x-k8s.io/usage-memory" in pod.metadata.annotations
          ? Quantity(pod.metadata.annotations["kwok.x-k8s.io/usage-memory"])
          : Quantity("1Mi")
"""
MADE = "2026-01-01T00:00:00Z"


def pod(name: str = "web", *names: str, namespace: str = "default", **annotations: str) -> Obj:
    names = names or ("c",)
    requests = {"requests": {"cpu": "200m", "memory": "64Mi"}}
    meta: Obj = {"name": name, "namespace": namespace, "creationTimestamp": MADE}
    if annotations:
        meta["annotations"] = annotations
    statuses = [{"name": n, "state": {"running": {"startedAt": MADE}}} for n in names]
    return {
        "metadata": meta,
        "spec": {"containers": [{"name": n, "resources": requests} for n in names]},
        "status": {"containerStatuses": statuses},
    }


def used(tmp_path: Path | None, text: str, obj: Obj, node: Obj | None = None, after_s: float = 0) -> Any:
    """(nano cores, bytes) by container, `after_s` the pod was made."""

    async def look() -> Any:
        world: World = simulated_world(1)
        await world.clock.sleep(after_s)
        described = None
        if tmp_path is not None:
            file = tmp_path / "usage.yaml"
            file.write_text(text)
            described = read([file], world).usages
        return {u.container: (u.nano_cores, u.memory) for u in Usages(described).of(obj, node)}

    return run_virtual(look())


def cluster_usage(usages: str, selector: str = "{}", name: str = "all") -> str:
    head = HEAD.format(kind="ClusterResourceUsage", name=name)
    return f"{head}spec:\n  selector: {selector}\n  usages:\n{usages}"


def test_without_a_word_a_container_uses_what_kwoks_does() -> None:
    assert used(None, "", pod()) == {"c": (1_000_000, 2**20)}


def test_annotations_say_it_for_one_container_or_all() -> None:
    said = {
        "kwok.x-k8s.io/usage-cpu": "1",
        "kwok.x-k8s.io/usage-memory": "64Mi",
        "pilothouse.dev/cpu-usage.b": "250m",
        "pilothouse.dev/memory-usage": "nonsense",
    }
    assert used(None, "", pod("web", "a", "b", **said)) == {
        "a": (10**9, 64 * 2**20),
        "b": (250 * 10**6, 64 * 2**20),
    }
    assert says_what_it_uses(pod(**said))
    assert not says_what_it_uses(pod(**{"pilothouse.dev/run-seconds": "3"}))
    assert not says_what_it_uses(pod())


def test_the_file_that_kwok_ships(tmp_path: Path) -> None:
    text = HEAD.format(kind="ClusterResourceUsage", name="usage-from-annotation") + OF_KWOK
    metric = (
        HEAD.format(kind="Metric", name="m") + "spec: {path: /metrics/nodes/{nodeName}/metrics/resource}\n"
    )
    metric = metric.replace("{path: /metrics/nodes/{nodeName}/metrics/resource}", "{path: /metrics}")
    both = f"{metric}---\n{text}"
    assert used(tmp_path, both, pod()) == {"c": (1_000_000, 2**20)}
    said = {"kwok.x-k8s.io/usage-cpu": "1500m", "kwok.x-k8s.io/usage-memory": "2Gi"}
    assert used(tmp_path, both, pod(**said)) == {"c": (1_500_000_000, 2 * 2**30)}


def test_the_pods_own_usage_goes_before_the_clusters_and_hides_it(tmp_path: Path) -> None:
    own = HEAD.format(kind="ResourceUsage", name="web, namespace: default")
    own += "spec: {usages: [{containers: [a], usage: {cpu: {value: 2}}}]}\n"
    text = f"{cluster_usage('  - usage: {cpu: {value: 100m}, memory: {value: 8Mi}}')}\n---\n{own}"
    # Of memory, and of the container that it does not name, the pod's own usage says nothing: the default counts.
    assert used(tmp_path, text, pod("web", "a", "b")) == {
        "a": (2 * 10**9, 2**20),
        "b": (1_000_000, 2**20),
    }
    assert used(tmp_path, text, pod("api")) == {"c": (100 * 10**6, 8 * 2**20)}


def test_the_first_that_selects_a_pod_counts(tmp_path: Path) -> None:
    text = (
        cluster_usage("  - usage: {cpu: {value: 1}}", "{matchNamespaces: [prod]}", "one")
        + "\n---\n"
        + cluster_usage("  - usage: {cpu: {value: 2}}", "{matchNames: [web]}", "two")
    )
    assert used(tmp_path, text, pod("web", namespace="prod"))["c"][0] == 10**9
    assert used(tmp_path, text, pod("web"))["c"][0] == 2 * 10**9
    assert used(tmp_path, text, pod("db"))["c"][0] == 1_000_000


@pytest.mark.parametrize(
    ("expression", "bytes_"),
    [
        ('Quantity("1Mi") * (pod.SinceSecond() / 60.0)', 5 * 2**20),
        ("SinceSecond(pod) * 2.0", 600),
        ('Quantity("10") + Quantity("1k") * 2', 2010),
        ('Quantity("1Ki") / 2', 512),
        ("container.resources.requests.memory / 2", 32 * 2**20),
        ("pod.spec.containers.size()", 1),
        ("(Now().UnixSecond() - UnixSecond(pod.metadata.creationTimestamp))", 300),
        ("node.status.allocatable.memory / 1024", 2**20),
        ("Rand() < 1.0 ? 7 : 8", 7),
        ("container.name == 'c' && !('x' in pod.metadata.labels) ? 1.0 : 2.0", 1),
        # Those that fail use nothing.
        ("pod.spec.absent", 0),
        ('"text"', 0),
        ('Quantity("x")', 0),
        ('Quantity("1") / 0', 0),
    ],
)
def test_expressions(tmp_path: Path, expression: str, bytes_: int) -> None:
    text = cluster_usage(f"  - usage:\n      memory:\n        expression: |\n          {expression}")
    node = {
        "metadata": {"name": "n", "creationTimestamp": MADE},
        "status": {"allocatable": {"memory": "1Gi", "cpu": "4"}},
    }
    assert used(tmp_path, text, pod(), node, after_s=300)["c"][1] == bytes_


@pytest.mark.parametrize(
    ("usages", "told"),
    [
        ("  - usage: {cpu: {value: much}}", "spec.usages[0].usage.cpu.value: quantities must match"),
        ("  - usage: {cpu: {}}", "spec.usages[0].usage.cpu.value: is required"),
        ("  - usage: {cpu: {expression: '1 +'}}", "spec.usages[0].usage.cpu.expression: compilation failed"),
        ("  - {container: a}", "spec.usages[0].container: unknown field"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, usages: str, told: str) -> None:
    file = tmp_path / "usage.yaml"
    file.write_text(cluster_usage(usages))
    with pytest.raises(StageError, match="ClusterResourceUsage all: ") as error:
        read([file], World())
    assert told in str(error.value)
