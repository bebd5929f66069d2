"""Stage files: every form that kwok's have had, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse.api.resources import NODES, PODS
from pilothouse.kit.world import World
from pilothouse.nodes.stages.read import StageError, StageSet, read
from pilothouse.nodes.stages.stage import Event, Finalizers

HEAD = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: go}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
"""


def load(tmp_path: Path, *texts: str) -> StageSet:
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"s{number}.yaml")
        files[-1].write_text(text)
    return read(files, World())


def test_files_of_several_documents(tmp_path: Path) -> None:
    node = HEAD.replace("Pod", "Node").replace("name: go", "name: node") + "  next: {delete: false}\n"
    pod = HEAD + "  selector: {}\n  next: {delete: true}\n"
    found = load(tmp_path, f"---\n{node}---\n# nothing\n---\n{pod}", pod)
    assert [stage.name for stage in found.of(PODS)] == ["go", "go"]
    assert [stage.name for stage in found.of(NODES)] == ["node"]


def test_the_older_form(tmp_path: Path) -> None:
    text = (
        HEAD
        + """\
  selector:
    matchLabels: {app: web}
    matchExpressions:
    - {key: .status.phase, operator: In, values: [Running]}
  weight: 2
  weightFrom: {expressionFrom: '.metadata.annotations["w"]'}
  delay:
    durationMilliseconds: 1500
    jitterDurationFrom: {expressionFrom: '.metadata.annotations["j"]'}
  immediateNextStage: true
  next:
    event: {type: Warning, reason: Fell, message: It fell.}
    finalizers: {add: [{value: a/b}], remove: [{value: c/d}]}
    statusTemplate: "phase: Failed"
    statusPatchAs: {username: someone}
"""
    )
    (stage,) = load(tmp_path, text).stages
    assert (stage.weight.fixed, stage.delay.duration.fixed_s, stage.delay.jitter.fixed_s) == (2, 1.5, None)
    assert stage.immediate
    first, second = stage.steps
    assert first.event == Event("Warning", "Fell", "It fell.")
    assert first.finalizers == Finalizers(("a/b",), ("c/d",))
    assert second.patch is not None
    assert (second.patch.subresource, second.patch.type) == ("status", "strategic")
    assert second.patch.body(second.patch.template.render({"metadata": {}})) == {
        "status": {"phase": "Failed"}
    }


def test_the_newer_form(tmp_path: Path) -> None:
    text = (
        HEAD
        + """\
  selector:
    matchExpressions:
    - jq: {key: .status.podIP, operator: DoesNotExist}
    - cel: {expression: "self.spec.nodeName != ''"}
  delay: {durationFrom: {jq: {expression: '.metadata.annotations["d"]'}}}
  weightFrom: {cel: {expression: "self.spec.priority"}}
  steps:
  - event: {reason: Going}
  - patch: {root: metadata, type: json, template: '[{op: add, path: /labels, value: {a: b}}]'}
  - delete: true
"""
    )
    (stage,) = load(tmp_path, text).stages
    event, patch, delete = stage.steps
    assert event.event == Event("Normal", "Going", "")
    assert patch.patch is not None
    assert patch.patch.body(patch.patch.template.render({"metadata": {}})) == [
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}
    ]
    assert delete.delete


WRONG = {
    "kind: Stage\n": "document 1: wants one of the kinds Stage, ResourceUsage, ClusterResourceUsage, Metric of "
    "kwok.x-k8s.io/v1alpha1, not Stage of none",
    "a: [": "document 1: yaml: line 1: did not find expected node content",
    HEAD: "stage go: spec.next: is required",
    HEAD.replace("go", "''") + "  next: {}\n": "document 1: metadata.name: is required",
    HEAD.replace("Pod", "Lease") + "  next: {}\n": (
        "stage go: spec.resourceRef: stages are played for Pod and Node of v1, not for Lease of v1"
    ),
    HEAD + "  next: {statusTemplat: x}\n": (
        "stage go: spec.next.statusTemplat: unknown field; known are event, finalizers, delete, patches, "
        "statusTemplate, statusSubresource, statusPatchAs"
    ),
    HEAD + "  next: {}\n  delay: {durationMilliseconds: 1s}\n": (
        'stage go: spec.delay.durationMilliseconds: wants a whole number, not "1s"'
    ),
    HEAD + "  next: {}\n  weight: -1\n": "stage go: spec.weight: must be greater than or equal to 0",
    HEAD + "  next: {}\n  selector: {matchExpressions: [{key: '.a[', operator: Exists}]}\n": (
        "stage go: spec.selector.matchExpressions[0].key: no jq filter: syntax error"
    ),
    HEAD + "  next: {}\n  selector: {matchExpressions: [{key: .a, operator: Is}]}\n": (
        'stage go: spec.selector.matchExpressions[0].operator: "Is" is none of In, NotIn, Exists, DoesNotExist'
    ),
    HEAD + "  next: {}\n  selector: {matchExpressions: [{key: .a, operator: In}]}\n": (
        "stage go: spec.selector.matchExpressions[0].values: must be given with In"
    ),
    HEAD + "  next: {statusTemplate: '{{ if }}'}\n": (
        "stage go: spec.next.statusTemplate: 1:7: missing value for command"
    ),
    HEAD + "  next: {statusTemplate: '{{ NodeIpp }}'}\n": (
        "stage go: spec.next.statusTemplate: 1:4: function 'NodeIpp' not defined"
    ),
    HEAD + "  next: {event: {type: Bad}}\n": (
        'stage go: spec.next.event.type: "Bad" is none of Normal, Warning'
    ),
    HEAD
    + "  next: {}\n  next: {}\n": 'document 1: yaml: unmarshal errors: line 7: key "next" already set in map',
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_line_with_file_stage_and_field(tmp_path: Path, text: str) -> None:
    with pytest.raises(StageError) as error:
        load(tmp_path, text)
    told = str(error.value)
    assert told.startswith(f"{tmp_path}/s0.yaml: {WRONG[text]}")
    assert "\n" not in told


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="No such file or directory"):
        read([tmp_path / "absent.yaml"], World())
