"""The reader of scheduler_perf's workload files: what upstream reads is read, what it refuses is refused by name
(kubernetes test/integration/scheduler_perf, scheduler_perf.go and operations.go)."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from benchmarks.scheduler_perf.fields import OPCODES
from benchmarks.scheduler_perf.metrics import histograms
from benchmarks.scheduler_perf.read import Case, Selector, WorkloadError, labelled, read, select
from benchmarks.scheduler_perf.resolve import resolved
from benchmarks.scheduler_perf.run import OPERATIONS
from benchmarks.scheduler_perf.templates import Template
from benchmarks.scheduler_perf.throughput import Throughput
from pilothouse.api.resources import PODS
from pilothouse.kit.metrics import exponential_buckets, histogram, new_registry

UPSTREAM = sorted((Path(__file__).parents[4] / "shared" / "scheduler_perf").glob("*/performance-config.yaml"))

FILE = """
- name: Case
  defaultPodTemplatePath: pod.yaml
  featureGates: {A: true, B: true}
  labels: [shared]
  workloadTemplate:
  - opcode: createNodes
    countParam: $nodes
  - opcode: createPodSets
    countParam: $sets
    namespacePrefix: ns
    createPodsOp: {opcode: createPods, countParam: $pods, countMultiplierParam: $sets}
  - opcode: createPods
    Count: 3
    durationParam: $long
    steadyStateParam: $steady
    templateParams: {color: $color, size: 5}
    collectMetrics: true
  workloads:
  - name: small/one
    labels: [performance, short]
    threshold: {default: 7, other: 9}
    featureGates: {B: false}
    params: {nodes: 5, sets: 2, pods: 4, long: 1m30s, steady: true, color: red}
  - name: big
    labels: [performance]
    threshold: 12.5
    params: {nodes: 5, sets: 0, pods: 4, long: 500ms, steady: false, color: red}
"""
_FIRST = "opcode: createNodes\n    countParam: $nodes"
_CHURN = "opcode: churn\n    "


def _write(directory: Path, text: str = FILE) -> Path:
    (directory / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {generateName: p-}\nspec: {}\n")
    file = directory / "config.yaml"
    file.write_text(textwrap.dedent(text))
    return file


def _cases(directory: Path, text: str = FILE) -> list[Case]:
    return read(_write(directory, text))


def test_parameters_take_their_places(tmp_path: Path) -> None:
    case, workload = select(_cases(tmp_path), "Case/small/one")
    nodes, first, second, pods = resolved(case, workload)
    assert nodes.values == {"count": 5}
    assert (first.values, second.values["namespace"]) == ({"count": 8, "namespace": "ns-0"}, "ns-1")
    assert pods.values["count"] == 3, "names of fields are read without regard to case"
    assert pods.values["duration"] == 90
    assert pods.values["steadyState"] is True
    assert pods.values["templateParams"] == {"color": "red", "size": 5}


def test_a_workload_inherits_from_its_case(tmp_path: Path) -> None:
    _, workload = select(_cases(tmp_path), "Case/small/one")
    assert workload.gates == {"A": True, "B": False}
    assert workload.labels == {"shared", "performance", "short"}
    assert (workload.threshold("other"), workload.threshold("none")) == (9, 0)
    assert workload.selector == Selector("SchedulingThroughput", {}, "Average", False)


def test_labels_choose_workloads(tmp_path: Path) -> None:
    cases = _cases(tmp_path)
    assert [w.name for _, w in labelled(cases, "performance,-short")] == ["big"]
    assert [w.name for _, w in labelled(cases, "+short,shared")] == ["small/one"]
    assert len(labelled(cases, "")) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("opcode: createNodes", "opcode: createClouds", "unknown opcode 'createClouds'; known are createNodes"),
        ("countParam: $nodes", "kount: 1", "Case: operation 0: createNodes: unknown field 'kount'"),
        ("countParam: $nodes", "countParam: nodes", "countParam must be the name of a parameter with a $"),
        ("countParam: $nodes", "count: -1", "count must be a whole number from 0 on, not -1"),
        ("countParam: $nodes", "count: 1", "Case/big: no operation uses nodes"),
        ("countParam: $nodes", "countParam: $gone", "Case/big: parameter gone is undefined"),
        ("{color: $color", "{color: $gone", "parameter gone is undefined"),
        ("long: 500ms", "long: 5 parsecs", "parameter long: '5 parsecs' is not a duration"),
        ("pods: 4, long: 500ms", "pods: four, long: 500ms", "parameter pods: 'four' is not a count"),
        ("collectMetrics: true", "collectMetrics: false", "no operation collects metrics"),
        ("collectMetrics: true", "collectMetrics: true\n    skipWaitToCompletion: true", "excludes collectMetrics"),
        ("pod.yaml", "gone.yaml", "there is no file"),
        ("name: big", "name: small/one", "workload small/one is there twice"),
        ("threshold: 12.5", "threshold: -1", "threshold -1 is not a number from 0 on"),
        ("featureGates: {B: false}", "gates: {}", "unknown field 'gates'"),
        ("countParam: $nodes", "count: 1\n    labelNodePrepareStrategy: {key: x}", "unknown field 'key'"),
        (_FIRST, _CHURN + "mode: never\n    templatePaths: [pod.yaml]", "mode must be one of create, recreate"),
        (_FIRST, _CHURN + "mode: create", "templatePaths must be set"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    with pytest.raises(WorkloadError) as caught:
        resolved(*select(_cases(tmp_path, FILE.replace(old, new)), "Case/big"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_field_of_an_operation_may_be_a_parameter(tmp_path: Path) -> None:
    text = """
    - name: Case
      workloadTemplate:
      - {opcode: createPods, count: $pods, namespace: $where, podTemplatePath: $file, collectMetrics: $collect}
      - {opcode: sleep, duration: $long}
      - {opcode: startCollectingMetrics, namespaces: $all}
      - {opcode: stopCollectingMetrics}
      workloads:
      - name: one
        params: {pods: 3, where: ns, file: pod.yaml, collect: true, long: 2m, all: [a, b]}
      - name: two
        params: {pods: three, where: ns, file: pod.yaml, collect: true, long: 2m, all: [a, b]}
    """
    pods, sleep, start, _ = resolved(*select(_cases(tmp_path, text), "Case/one"))
    assert pods.values == {
        "count": 3,
        "namespace": "ns",
        "podTemplatePath": tmp_path / "pod.yaml",
        "collectMetrics": True,
    }
    assert (sleep.values["duration"], start.values["namespaces"]) == (120, ["a", "b"])
    with pytest.raises(
        WorkloadError, match="createPods: count must be a whole number from 0 on, not 'three'"
    ):
        resolved(*select(_cases(tmp_path, text), "Case/two"))


def test_a_template_of_one_kind_need_not_name_it(tmp_path: Path) -> None:
    """Upstream decodes it into the kind's struct."""
    (tmp_path / "template.yaml").write_text("metadata: {generateName: p-}\nspec: {}\n")
    pod = Template(tmp_path / "template.yaml", kind=PODS).object()
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")


def test_an_unknown_workload_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="there are small/one, big"):
        select(_cases(tmp_path), "Case/huge")


def test_each_opcode_can_be_performed() -> None:
    assert set(OPERATIONS) == set(OPCODES) - {"createPodSets"}, "pod sets are unrolled before"


@pytest.mark.parametrize("file", UPSTREAM, ids=lambda file: file.parent.name)
def test_upstreams_files_are_read_as_they_are(file: Path) -> None:
    cases = read(file)
    for case in cases:
        for workload in case.workloads:
            assert resolved(case, workload)


# -- templates ----------------------------------------------------------------------------------------------


def _template(directory: Path, text: str, **params: object) -> Template:
    (directory / "template.yaml").write_text(text)
    return Template(directory / "template.yaml", params)


def test_a_template_knows_its_number_and_upstreams_functions(tmp_path: Path) -> None:
    text = """
        apiVersion: v1
        kind: Pod
        metadata:
          name: p-{{.Index}}-of-{{.Count}}
          labels: {zone: "zone-{{Mod .Index 3}}", color: "{{.color}}"}
        spec: {priority: {{AddInt .Index 2 3}}, terminationGracePeriodSeconds: {{DivideInt .Count 2}}}
    """
    pod = _template(tmp_path, textwrap.dedent(text), color="red").object(7, 9)
    assert pod["metadata"] == {"name": "p-7-of-9", "labels": {"zone": "zone-1", "color": "red"}}
    assert pod["spec"] == {"priority": 12, "terminationGracePeriodSeconds": 4}


def test_every_object_of_a_template_is_another(tmp_path: Path) -> None:
    template = _template(tmp_path, "apiVersion: v1\nkind: Pod\nmetadata: {labels: {}}\n")
    template.object()["metadata"]["labels"]["a"] = "b"
    assert template.object()["metadata"]["labels"] == {}


def test_field_names_are_read_as_go_reads_them(tmp_path: Path) -> None:
    """pod-with-node-inclusion-policy.yaml has NodeAffinityPolicy."""
    text = """
        apiVersion: v1
        kind: Pod
        metadata: {Labels: {MixedCase: x}}
        spec:
          topologySpreadConstraints:
          - {maxSkew: 1, NodeTaintsPolicy: Honor}
    """
    pod = _template(tmp_path, textwrap.dedent(text)).object()
    assert pod["metadata"] == {"labels": {"MixedCase": "x"}}
    assert pod["spec"]["topologySpreadConstraints"] == [{"maxSkew": 1, "nodeTaintsPolicy": "Honor"}]


@pytest.mark.parametrize(
    "text", ["kind: [", "a: b", "kind: Pod\nname: {{.Index", "kind: Pod\nx: {{Mod 1 0}}"]
)
def test_a_template_that_gives_no_object_names_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(WorkloadError, match=r"template\.yaml: "):
        _template(tmp_path, text).object()


# -- figures ------------------------------------------------------------------------------------------------


def _pod(namespace: str = "a", **labels: str) -> dict[str, object]:
    return {"metadata": {"namespace": namespace, "labels": labels}}


def test_throughput_is_sampled_as_upstream_samples_it() -> None:
    """The first second only starts the count; an empty one makes the next sample count twice."""
    counted = Throughput(frozenset({"a"}), {"app": "x"}, began_s=0.0)
    counted.sample(1.0)
    for second, pods in enumerate((10, 40, 0, 20), start=2):
        for _ in range(pods):
            counted.note(_pod(app="x"), second - 0.5)
        counted.note(_pod(), second)
        counted.note(_pod("b", app="x"), second)
        counted.sample(float(second))
    assert counted.samples == [40, 10, 10]
    figures = counted.figures()
    assert (figures["average"], figures["Perc50"], figures["Perc99"]) == (20, 10, 40)
    assert counted.overall == pytest.approx(70 / 4.5)


def test_a_workload_that_is_over_at_once_has_its_overall_rate() -> None:
    counted = Throughput(frozenset({"a"}), {}, began_s=0.0)
    counted.note(_pod(), 0.1)
    assert counted.figures()["average"] == pytest.approx(10)


def test_histograms_are_printed_in_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    registry = new_registry()
    made = histogram(registry, "x_duration_seconds", "X.", ["result"], exponential_buckets(0.001, 2, 5))
    for _ in range(4):
        made.labels("scheduled").observe(0.003)
    config = {"Metrics": {"x_duration_seconds": [{"Label": "result", "Values": ["scheduled", "error"]}]}}
    aim = Selector("x_duration_seconds", {"result": "scheduled"}, "Perc50")
    found = {f.name: f.value for f in histograms(registry, config, aim, 5.0)}
    assert found["x_duration_ms/scheduled/average"] == pytest.approx(3)
    assert found["x_duration_ms/scheduled/Perc50"] == pytest.approx(3)
    assert found["x_duration_ms/scheduled/threshold"] == 5
    assert not any("error" in name for name in found)
    assert list(histograms(registry, config, Selector("gone_seconds"), 1.0))
    assert "gone_seconds, which this scheduler does not measure" in capsys.readouterr().err
