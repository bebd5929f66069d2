"""A workload of every kind of operation that needs no other component, run to its figures."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from benchmarks.report import Report
from benchmarks.scheduler import measure
from benchmarks.scheduler_perf.read import WorkloadError, read, select

_POD = """
apiVersion: v1
kind: Pod
metadata: {generateName: p-, labels: {app: x}}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: i, resources: {requests: {cpu: 100m}}}]}
"""
_NODE = """
apiVersion: v1
kind: Node
metadata: {generateName: churned-}
status: {capacity: {pods: "0"}}
"""
_UPDATED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "map-{{.Index}}"}
data: {count: "{{.Count}}"}
"""
_CASE = """
- name: All
  defaultPodTemplatePath: pod.yaml
  workloadTemplate:
  - opcode: createNodes
    count: 3
    labelNodePrepareStrategy: {labelKey: zone, labelValues: [a, b]}
  - opcode: createNodes
    count: 1
    nodeAllocatableStrategy: {nodeAllocatable: {x: "3"}, csiNodeAllocatable: {d: {count: 3}}}
  - {opcode: createNamespaces, prefix: more, count: 2}
  - {opcode: createAny, namespace: more-0, templatePath: map.yaml, count: 2}
  - opcode: createPodSets
    namespacePrefix: more
    count: 2
    createPodsOp: {opcode: createPods, count: 2}
  - {opcode: createPods, count: 2, namespace: late, skipWaitToCompletion: true}
  - {opcode: barrier, namespaces: [late], labelSelector: {app: x}}
  - {opcode: deletePods, namespace: late}
  - {opcode: churn, mode: recreate, number: 1, intervalMilliseconds: 20, templatePaths: [node.yaml, pod.yaml]}
  - {opcode: sleep, duration: 100ms}
  - {opcode: createPods, count: 5, collectMetrics: true}
  - {opcode: startCollectingMetrics, name: steady, namespaces: [steady]}
  - {opcode: createPods, count: 2, namespace: steady, steadyState: true, duration: 200ms}
  - {opcode: stopCollectingMetrics}
  workloads:
  - {name: small, threshold: 1}
"""


def _write(directory: Path, case: str = _CASE) -> Path:
    for name, text in (("pod", _POD), ("node", _NODE), ("map", _UPDATED), ("config", case)):
        (directory / f"{name}.yaml").write_text(textwrap.dedent(text))
    return directory / "config.yaml"


async def test_all_operations_end_in_figures(tmp_path: Path) -> None:
    report = Report()
    await measure(report, *select(read(_write(tmp_path)), "All/small"), durable=False, topic="")
    figures = {figure["name"]: figure["value"] for figure in report.figures}
    assert figures["All/small/average"] > 1
    assert figures["All/small/threshold"] == 1
    assert figures["All/small/of_threshold"] == pytest.approx(figures["All/small/average"], rel=0.01)
    assert figures["All/small/steady/average"] > 1
    assert 0 < figures["All/small/table_per_pod"] < 10_000


async def test_an_operation_that_fails_says_what_it_was_about(tmp_path: Path) -> None:
    lost = _CASE.replace("namespaces: [late]", "namespaces: [nowhere]")
    case, workload = select(read(_write(tmp_path, lost)), "All/small")
    with pytest.raises(WorkloadError, match="barrier: unknown namespace nowhere"):
        await measure(Report(), case, workload, durable=False, topic="")
